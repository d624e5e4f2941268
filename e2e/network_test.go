package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
)

// machines starts n upstreams on hosts of their own.
func machines(t *testing.T, n int) *faults.Machines {
	t.Helper()
	return machinesOf(t, faults.Options{}, n)
}

func machinesOf(t *testing.T, opts faults.Options, n int) *faults.Machines {
	t.Helper()
	t.Parallel()
	opts.Binary, opts.Envoy, opts.Dir = binary, envoyPath, t.TempDir()
	m, err := faults.NewMachines(within(t, patience), opts, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.Logs(15))
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// keeps fails the test if Envoy loses an endpoint within d.
func keeps(t *testing.T, m *faults.Machines, d time.Duration) {
	t.Helper()
	lost, err := m.Loses(within(t, d+patience), d)
	if must(t, lost, err) > 0 {
		t.Errorf("envoy lost %d endpoints", lost)
	}
}

func TestASilentHostGoesAndComesBack(t *testing.T) {
	m := machines(t, 10)
	var outs, backs []time.Duration
	for i := range 10 {
		out, back, err := m.Silence(within(t, patience), 1+i)
		if err != nil {
			t.Fatal(err)
		}
		outs, backs = append(outs, out), append(backs, back)
	}
	slices.Sort(outs)
	slices.Sort(backs)
	t.Logf("out: median %s, worst %s; back: median %s, worst %s", outs[5], outs[9], backs[5], backs[9])
	if outs[9] > 25*time.Second || backs[9] > 20*time.Second {
		t.Errorf("out %v, back %v", outs, backs)
	}
}

func TestAMajorityThatFallsSilentIsKept(t *testing.T) {
	m := machines(t, 10)
	silent := []int{1, 2, 3, 4, 5, 6}
	ctx := within(t, 2*patience)
	must(t, 0, m.Cut(ctx, true, silent...))
	keeps(t, m, 10*time.Second)
	must(t, 0, m.Guarded(ctx, len(silent)))
	must(t, 0, m.Cut(ctx, false, silent...))
	must(t, 0, m.Unguarded(ctx))
	keeps(t, m, 2*time.Second)
}

func TestAServerThatIsCutOffLosesNobody(t *testing.T) {
	m := machines(t, 10)
	ctx := within(t, 2*patience)
	must(t, 0, m.Cut(ctx, true, 0))
	keeps(t, m, 10*time.Second)
	must(t, 0, m.Cut(ctx, false, 0))
	healed := time.Now()
	must(t, 0, m.All(ctx))
	t.Logf("gossip saw the whole pool %s after the link was up", time.Since(healed))
	keeps(t, m, 3*time.Second)
}

func TestALossyNetworkKillsNobody(t *testing.T) {
	m := machines(t, 20)
	ctx := within(t, 2*patience)
	must(t, 0, m.Lose(ctx, 20))
	keeps(t, m, 20*time.Second)
	must(t, 0, m.Lose(ctx, 0))
	keeps(t, m, 2*time.Second)
}

func TestAServerThatSleptLosesNobody(t *testing.T) {
	m := machines(t, 10)
	must(t, 0, m.EDS.Signal(syscall.SIGSTOP))
	keeps(t, m, 5*time.Second)
	must(t, 0, m.EDS.Signal(syscall.SIGCONT))
	keeps(t, m, 6*time.Second)
}
