package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/demo/stage"
	"github.com/rollcall-fleet/rollcall/envoy"
)

func TestTheGossipKeyIsRotatedUnderLoadAndNobodyIsLost(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	dir := t.TempDir()
	newKey := func(name string) string {
		path := filepath.Join(dir, name)
		code, out := rollcall(t, "keygen", "gossip")
		if code != 0 {
			t.Fatal(out)
		}
		if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	edsFile, next := newKey("eds.key"), newKey("next.key")
	upstreamFile := filepath.Join(dir, "upstream.key")
	old, err := os.ReadFile(edsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(upstreamFile, old, 0o600); err != nil {
		t.Fatal(err)
	}
	h.eds("--gossip-key-file", edsFile)
	u := h.upstream("--gossip-key-file", upstreamFile)
	h.envoy(envoy.GRPC, "--no-retries")
	h.serves(u)
	load := h.load()

	keys := func(ok bool, args ...string) string {
		t.Helper()
		code, out := rollcall(t, append(append([]string{"keys"}, args...), "--server", "http://"+h.Addresses.HTTP)...)
		if (code == 0) != ok {
			t.Fatalf("keys %v: exit code %d: %s", args, code, out)
		}
		return out
	}
	fingerprint := func(out string, row int) string { return strings.Fields(strings.Split(out, "\n")[1+row])[0] }
	first := fingerprint(keys(true, "list"), 0)
	keys(true, "add", next)
	out := keys(true, "list")
	second := fingerprint(out, 0)
	if second == first {
		second = fingerprint(out, 1)
	}
	if out := keys(false, "remove", first); !strings.Contains(out, "2 of 2 members encrypt with key") {
		t.Errorf("removing a key in use says %s", out)
	}
	keys(true, "use", second[:6], "--actor", "ann")
	if code, out := rollcall(t, "audit", "--server", h.Addresses.HTTP); code != 0 || !regexp.MustCompile(`key used .*key `+second+` .* ann`).MatchString(out) {
		t.Errorf("the audit does not say who used which key, exit code %d:\n%s", code, out)
	}
	if out := keys(true, "remove", first); strings.Contains(out, first) {
		t.Errorf("the old key is still there: %s", out)
	}
	h.lists(u)
	after := h.upstream("--gossip-key-file", upstreamFile) // as it was written
	h.serves(u, after)
	h.isUnderWay(load)
	h.noneFailed(load)
	if n := must2(h.Admin.Changes(within(t, patience), stage.Backend))(t); n != 2 {
		t.Errorf("the hosts of envoy changed %d times, want 2: a member was lost meanwhile", n)
	}
	for _, path := range []string{edsFile, upstreamFile} {
		if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), strings.TrimSpace(string(old))) {
			t.Errorf("%s still has the old key (%v)", filepath.Base(path), err)
		}
	}
}
