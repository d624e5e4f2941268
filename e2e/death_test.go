package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
)

// fleet starts n upstreams behind an Envoy that hides no failure.
func fleet(t *testing.T, api string, n int) *faults.Fleet {
	t.Helper()
	t.Parallel()
	f, err := faults.NewFleet(within(t, patience), newHarness(t).Fleet, api, n, "--no-retries")
	return must(t, f, err)
}

// limit fails the test if the worst of took is over most, which is ten times what
// is typical and more.
func limit(t *testing.T, what string, most time.Duration, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s: median %s, worst %s", what, took[len(took)/2], took[len(took)-1])
	if worst := took[len(took)-1]; worst > most {
		t.Errorf("%s: %s, want at most %s", what, worst, most)
	}
}

func TestAKilledUpstreamGetsNoMoreRequests(t *testing.T) {
	for _, api := range []string{"grpc", "rest"} {
		t.Run(api, func(t *testing.T) {
			f := fleet(t, api, 10)
			var took []time.Duration
			for range 10 {
				d, err := f.Kill(within(t, patience), 1)
				took = append(took, must(t, d, err))
				must(t, 0, f.Fill(within(t, patience), 10))
			}
			limit(t, "kill -9 → last request", 2500*time.Millisecond, took)
		})
	}
}

func TestProvenDeathsPassTheGuard(t *testing.T) {
	f := fleet(t, "grpc", 10)
	d, err := f.Kill(within(t, patience), 8)
	limit(t, "kill -9 of 8 of 10 → last request", 2500*time.Millisecond, []time.Duration{must(t, d, err)})
	var guards struct{ Guards map[string]any }
	must(t, 0, f.API.Get(within(t, patience), "/guards", &guards))
	if len(guards.Guards) > 0 {
		t.Errorf("guards hold %v", guards.Guards)
	}
}

func TestRetriesHideKills(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f, err := faults.NewFleet(within(t, patience), h.Fleet, "grpc", 5)
	must(t, f, err)
	load := h.load()
	for range 10 {
		time.Sleep(100 * time.Millisecond) // so that there are requests to lose
		f.Upstreams[0].Kill()
		f.Upstreams = f.Upstreams[1:]
		must(t, 0, f.Fill(within(t, patience), 5))
	}
	h.noneFailed(load)
}

func TestAStoppedAHangingAndAnIllUpstreamGoAndComeBack(t *testing.T) {
	for _, tt := range []struct {
		name       string
		harm, heal syscall.Signal
	}{
		{"stopped", syscall.SIGSTOP, syscall.SIGCONT},
		{"hanging", syscall.SIGUSR1, syscall.SIGHUP},
		{"ill", syscall.SIGUSR2, syscall.SIGHUP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fleet(t, "grpc", 9)
			var outs, backs []time.Duration
			for range 3 { // each an upstream of its own, or damping would hold it back
				p, err := f.Odd(within(t, patience))
				must(t, p, err)
				out, back, err := f.Harm(within(t, patience), p, tt.harm, tt.heal)
				must(t, 0, err)
				outs, backs = append(outs, out), append(backs, back)
				p.Kill()
				must(t, 0, f.Fill(within(t, patience), 9))
			}
			limit(t, "out", 25*time.Second, outs)
			limit(t, "back", 15*time.Second, backs)
		})
	}
}

func TestAFlappingUpstreamChangesItsPlaceSeldom(t *testing.T) {
	f := fleet(t, "grpc", 3)
	n, err := f.Flap(within(t, 2*patience), 30*time.Second)
	if must(t, n, err); n < 2 || n > 12 {
		t.Errorf("its place changed %d times", n)
	}
}

func TestARestartIsRightAndStaysSo(t *testing.T) {
	for _, same := range []bool{true, false} {
		for _, pause := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprintf("same port %v, after %s", same, pause), func(t *testing.T) {
				f := fleet(t, "grpc", 3)
				d, err := f.Restart(within(t, patience), same, pause, 10*time.Second)
				limit(t, "restarted → first request", 30*time.Second, []time.Duration{must(t, d, err)})
			})
		}
	}
}

// Busy loops take the processors; nobody dies of it.
func TestAStarvedMachineKillsNobody(t *testing.T) {
	f := fleet(t, "delta-ads", 10)
	stop, err := f.Busy(16)
	must(t, stop, err)
	t.Cleanup(stop)
	lost, err := f.Loses(within(t, patience), 18*time.Second)
	if must(t, lost, err) > 0 {
		t.Errorf("envoy lost %d of 10 endpoints", lost)
	}
}
