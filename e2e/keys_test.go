package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/envoy"
	words "github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
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
	added := must2(os.ReadFile(next))(t)
	if out := keys(false, "use", gossip.FingerprintOf(must2(gossip.ReadKeyFile(next))(t)[0]).String()); !strings.Contains(out, "no key has a fingerprint") {
		t.Errorf("using a key that nobody has says %s", out)
	}
	for _, path := range []string{edsFile, upstreamFile} {
		must(t, 0, os.WriteFile(path, append(slices.Clone(old), added...), 0o600))
	}
	second := gossip.FingerprintOf(must2(gossip.ReadKeyFile(next))(t)[0]).String()
	h.eventually("the files are followed", func(context.Context) error {
		if out := keys(true, "list"); strings.Count(out, second) != 3 { // and who has it
			return errors.New(out)
		}
		return nil
	})
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

// Somebody has the key, which leaked, and keeps to itself: it is told no other, and its
// silence stops no rotation that names it. Nor does it stay in service, however well it
// answers probes.
func TestAHolderOfALeakedKeyIsLockedOutByARotation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s, next := newSecrets(t), must2(gossip.NewKey())(t)
	file := filepath.Join(s.dir, "gossip.key")
	h.eds(s.member()...)
	own := uuid.New()
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(words.IDHeader, own.String()) }))
	t.Cleanup(answers.Close)
	endpoint := netip.MustParseAddrPort(answers.Listener.Addr().String())
	thief := must2(gossip.Start(gossip.Options{
		Member: words.Member{
			ID: own, Role: words.RoleUpstream, Started: time.Now(), Version: words.FormatVersion, Service: h.Service, Probe: words.Probe{Kind: words.ProbeHTTP, Path: "/"},
			Endpoint: words.Endpoint{Addr: endpoint, Weight: 1, Health: words.Healthy},
		},
		Fleet: h.Pool, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{s.raw}, Seeds: []string{h.Addresses.Gossip}, Logger: slog.New(slog.DiscardHandler),
	}))(t)
	t.Cleanup(func() { _ = thief.Close() })
	id := thief.Self().ID.String()
	keys := func(code int, args ...string) string {
		t.Helper()
		got, out := rollcall(t, append(append([]string{"keys"}, args...), "--server", "http://"+h.Addresses.HTTP)...)
		if got != code {
			t.Fatalf("keys %v: exit code %d, want %d: %s", args, got, code, out)
		}
		return out
	}
	h.eventually("it is a member", func(context.Context) error {
		if out := keys(0, "list"); !strings.Contains(out, id) {
			return errors.New(out)
		}
		return nil
	})
	honest := h.upstream(s.member()...)
	served := func(ports ...uint16) {
		t.Helper()
		h.eventually(fmt.Sprintf("served are %v", ports), func(ctx context.Context) error {
			var got map[string]struct {
				Hosts []struct {
					Port   uint16
					Served bool
				}
			}
			if err := h.API.Get(ctx, "/edsservice", &got); err != nil {
				return err
			}
			var now []uint16
			for _, host := range got[h.Service].Hosts {
				if host.Served {
					now = append(now, host.Port)
				}
			}
			if slices.Sort(now); !slices.Equal(now, ports) {
				return fmt.Errorf("served are %v", now)
			}
			return nil
		})
	}
	both := []uint16{endpoint.Port(), uint16(honest.Port)}
	slices.Sort(both)
	served(both...)
	leaked := gossip.FingerprintOf(s.raw).String()
	must(t, 0, os.WriteFile(file, append(must2(os.ReadFile(file))(t), next+"\n"...), 0o600))
	second := gossip.FingerprintOf(must2(gossip.ReadKeyFile(file))(t)[1]).String()
	h.eventually("the file is followed", func(context.Context) error {
		if out := keys(0, "list"); strings.Count(out, second) != 3 { // and two have it
			return errors.New(out)
		}
		return nil
	})
	if out := keys(4, "use", second); !strings.Contains(out, id) {
		t.Errorf("who stops the rotation is not named: %s", out)
	}
	keys(2, "use", second, "--without", id)
	keys(0, "use", second, "--without", id, "--yes")
	keys(0, "remove", leaked, "--without", id, "--yes")
	h.eventually("it is gone", func(ctx context.Context) error {
		var got struct {
			Members []struct{ ID, Liveness string }
		}
		if err := h.API.Get(ctx, "/members", &got); err != nil {
			return err
		}
		for _, m := range got.Members {
			if m.ID == id && m.Liveness == string(words.Alive) {
				return fmt.Errorf("it is %s", m.Liveness)
			}
		}
		return nil
	})
	if out := keys(0, "list"); strings.Contains(out, leaked) || strings.Contains(out, id) {
		t.Errorf("the keys are %s", out)
	}
	served(uint16(honest.Port))
}
