package e2e

import (
	"strings"
	"testing"
	"time"
)

// A firewall rejects what one EDS server sends to the upstreams over TCP. Gossip over UDP
// passes, so their processes still answer its challenges.
func TestAFirewallThatRejectsTakesNoEndpointOut(t *testing.T) {
	for _, tt := range []struct {
		with      string
		upstreams int
	}{{"tcp reset", 3}, {"icmp port-unreachable", 10}} {
		t.Run(tt.with, func(t *testing.T) {
			m := machines(t, tt.upstreams)
			ctx := within(t, 2*patience)
			must(t, 0, m.Reject(ctx, tt.with))
			keeps(t, m, 5*time.Second)
			must(t, 0, m.Guarded(ctx, tt.upstreams))
			if log := m.EDS.Tail(50); !strings.Contains(log, "endpoints refuse connections but their processes answer") {
				t.Error("the log does not show the contradiction")
			}
			must(t, 0, m.Kill(1))
			took, err := m.Until(ctx, tt.upstreams-1)
			if must(t, took, err) > 10*time.Second {
				t.Errorf("a process that died behind the firewall is out after %s", took)
			}
			must(t, 0, m.Upstream(1))
			must(t, 0, m.Reject(ctx, ""))
			must(t, 0, m.Unguarded(ctx))
			keeps(t, m, 2*time.Second)
		})
	}
}

// A firewall drops what one EDS server sends to the serving ports alone: each server seems
// to hang, and nothing else of the service is heard.
func TestAFirewallThatDropsTakesNoEndpointOut(t *testing.T) {
	const upstreams = 3
	m := machines(t, upstreams)
	ctx := within(t, 2*patience)
	must(t, 0, m.Drop(ctx))
	must(t, 0, m.Guarded(ctx, upstreams))
	keeps(t, m, 5*time.Second)
	must(t, 0, m.Reject(ctx, ""))
	must(t, 0, m.Unguarded(ctx))
}
