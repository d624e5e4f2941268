package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// serviceKey makes a pair of keys and returns the private one's file and the public line.
func (h *harness) serviceKey(service string) (private, public string) {
	h.t.Helper()
	var out, line bytes.Buffer
	cmd := exec.CommandContext(within(h.t, patience), binary, "keygen", "service", service)
	cmd.Stdout, cmd.Stderr = &out, &line
	must(h.t, 0, cmd.Run())
	private = filepath.Join(h.t.TempDir(), "private.key")
	must(h.t, 0, os.WriteFile(private, out.Bytes(), 0o600))
	return private, line.String()
}

func TestAServiceIsServedOnlyByWhoHasItsKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	key, line := h.serviceKey(h.Service)
	another, _ := h.serviceKey(h.Service)
	lines := filepath.Join(t.TempDir(), "service.keys")
	must(t, 0, os.WriteFile(lines, []byte(line), 0o600))
	h.eds("--service-keys", lines)
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream("--service-key", key)
	h.serves(one)

	load := h.load()
	none, wrong := h.upstream(), h.upstream("--service-key", another)
	for _, u := range []*stage.Upstream{none, wrong} {
		h.eventually("a member without the key", func(ctx context.Context) error {
			var got struct {
				Members []struct{ ID, Quarantine string }
			}
			if err := h.API.Get(ctx, "/members", &got); err != nil {
				return err
			}
			for _, m := range got.Members {
				if m.ID == u.ID && m.Quarantine != "" {
					return nil
				}
			}
			return fmt.Errorf("%s is not refused: %+v", u.ID, got)
		})
	}
	h.serves(one)
	h.isUnderWay(load)
	if answers := h.noneFailed(load); len(answers) > 0 {
		for _, a := range answers {
			if a.ID() != one.ID {
				t.Fatalf("%s answered", a.ID())
			}
		}
	}
}
