//go:build long

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

func TestLongEDSServersThatRestartLoseNoEndpoint(t *testing.T) {
	for _, r := range faults.Restarts(5) {
		t.Run(r.String(), func(t *testing.T) { restartsAll(t, r) })
	}
}

// An endpoint that dies while its EDS server is away is kept for the bound by a server
// that never knew it, and for as long as gossip takes to settle by one that remembers it.
func TestLongEndpointThatDiesDuringARestartIsKeptForTenSecondsAtMost(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("data lost %v", lost), func(t *testing.T) {
			f := fleet(t, "delta-ads", 3)
			server := f.Processes()[0]
			server.Kill()
			dead := f.Upstreams[0]
			dead.Kill()
			if lost {
				folders := must2(filepath.Glob(filepath.Join(f.Dir, "eds-*")))(t)
				for _, d := range folders {
					must(t, 0, os.RemoveAll(d))
				}
			}
			began := time.Now()
			again := must2(f.EDS(within(t, patience)))(t)
			err := stage.Eventually(within(t, patience), func(ctx context.Context) error {
				hosts, err := f.Admin.Healthy(ctx, stage.Backend)
				if err == nil && len(hosts) != 2 {
					err = fmt.Errorf("envoy may use %d endpoints", len(hosts))
				}
				return err
			})
			must(t, 0, err)
			took := time.Since(began)
			t.Logf("kept for %s", took)
			warned := strings.Contains(again.Log(), "clients held more endpoints")
			switch {
			case lost && (took < 9*time.Second || took > 13*time.Second || !warned):
				t.Errorf("kept for %s, want 10 s; warned: %v", took, warned)
			case !lost && (took > 9*time.Second || warned):
				t.Errorf("kept for %s, want until gossip has settled; warned: %v", took, warned)
			}
		})
	}
}
