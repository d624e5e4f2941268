package e2e

import (
	"strings"
	"testing"
	"time"
)

// One EDS server cannot reach 4 of 10 hosts that all others reach: nothing of them is heard
// there, neither probes nor gossip, and they stay in service by fresh reports of others.
func TestEndpointsThatOthersReachStayInService(t *testing.T) {
	m := machines(t, 10)
	apart := []int{1, 2, 3, 4}
	ctx := within(t, 3*patience)
	must(t, 0, m.Net.Part(ctx, 0, apart...))
	keeps(t, m, 15*time.Second)
	must(t, 0, m.Guarded(ctx, len(apart)))
	if log := m.EDS.Tail(50); !strings.Contains(log, "endpoints refuse connections but their processes answer") {
		t.Error("the log does not show the contradiction")
	}
	for _, host := range apart {
		must(t, 0, m.Kill(host))
	}
	took, err := m.Until(ctx, 10-len(apart))
	t.Logf("out %s after they died", must(t, took, err))
	if took > 10*time.Second {
		t.Errorf("endpoints that died behind the broken link are out after %s", took)
	}
}
