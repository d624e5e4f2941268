package probe

import (
	"testing"
	"testing/synctest"
	"time"
)

// A firewall stops dropping connections at any moment between two probes. What was asked
// before that, and asked of gossip after it, must not look like a hang.
func TestEndpointStaysInServiceWhenAFirewallStopsDropping(t *testing.T) {
	for phase := time.Duration(0); phase < DefaultInterval; phase += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, 1, 0)
			defer s.stop()
			s.watch(s.targets...)
			s.pass(10 * time.Second)
			s.want(0, Good)
			s.do(0, "dropped")
			s.pass(5*time.Second + phase)
			s.want(0, Contradicted)
			s.do(0, "heal")
			for range 300 {
				s.pass(10 * time.Millisecond)
				if v := s.evidence(0).Verdict; v != Contradicted && v != Good {
					t.Fatalf("healed %v later, it is %q", phase, v)
				}
			}
			s.want(0, Good)
		})
	}
}
