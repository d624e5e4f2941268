package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
)

// noneLost stops the loads and fails the test unless every request was answered.
func noneLost(t *testing.T, loads faults.Loads) {
	t.Helper()
	made, failed := loads.Stop()
	if made < 500 {
		t.Errorf("only %d requests were made, too few to say anything", made)
	}
	for i, err := range failed {
		if i < 5 {
			t.Errorf("%d of %d requests failed: %v", len(failed), made, err)
		}
	}
}

func TestARollingRestartLosesNoRequest(t *testing.T) {
	for _, api := range []string{"delta-ads", "rest"} {
		t.Run(api, func(t *testing.T) {
			f := fleet(t, api, 5)
			loads := faults.StartLoads(within(t, 3*time.Minute), 500, f.Addresses.Listener)
			gone, err := f.Roll(within(t, 2*patience))
			limit(t, "SIGTERM → gone", 20*time.Second, must(t, gone, err))
			noneLost(t, loads)
		})
	}
}

func TestARollingRestartBesideARestartedEDSServerLosesNoRequest(t *testing.T) {
	first, second := newHarness(t), newHarness(t)
	p, err := faults.NewPair(within(t, patience), first.Fleet, second.Fleet, 4)
	must(t, p, err)
	loads := faults.StartLoads(within(t, 3*time.Minute), 200, first.Addresses.Listener, second.Addresses.Listener)
	restarted := make(chan error, 1)
	go func() {
		old := second.Processes()[0]
		if err := old.Stop(within(t, patience)); err != nil {
			restarted <- err
			return
		}
		_, err := second.EDS(within(t, patience), "--join", first.Addresses.Gossip)
		restarted <- err
	}()
	gone, err := p.Roll(within(t, 2*patience), second.Admin)
	must(t, gone, err)
	must(t, 0, <-restarted)
	noneLost(t, loads)
}

func TestAnIdleUpstreamIsDrainedAtOnce(t *testing.T) {
	f := fleet(t, "delta-ads", 5)
	var closed, gone []time.Duration
	for range 4 {
		c, g, err := f.Drain(within(t, patience))
		must(t, c, err)
		closed, gone = append(closed, c), append(gone, g)
	}
	limit(t, "SIGTERM → port closed", time.Second, closed)
	limit(t, "SIGTERM → gone", 20*time.Second, gone)
}

func TestARequestInFlightIsAnsweredBeforeItsUpstreamStops(t *testing.T) {
	f := fleet(t, "delta-ads", 0)
	gone, err := f.DrainInFlight(within(t, patience))
	limit(t, "SIGTERM → gone", 30*time.Second, []time.Duration{must(t, gone, err)})
}

// Changes that come together are told together.
func TestUpstreamsThatStartTogetherAllGetRequests(t *testing.T) {
	f := fleet(t, "delta-ads", 0)
	took, updates, err := f.Crowd(within(t, patience), 20)
	must(t, took, err)
	limit(t, "start → all answer", 20*time.Second, []time.Duration{took})
	if updates > 20 {
		t.Errorf("envoy got %d updates for 20 upstreams", updates)
	}
}

// The EDS server of one of two Envoys is killed at the moment an upstream is asked to
// stop: its receipt never comes, and its Envoy has to hear of the drain elsewhere.
func TestADrainWhoseEDSServerIsKilledLosesNoRequest(t *testing.T) {
	t.Parallel()
	first, second := newHarness(t), newHarness(t)
	p, err := faults.NewPair(within(t, patience), first.Fleet, second.Fleet, 4)
	must(t, p, err)
	loads := faults.StartLoads(within(t, 3*time.Minute), 200, first.Addresses.Listener, second.Addresses.Listener)
	time.Sleep(time.Second) // of load
	leaving := p.Upstreams[0]
	must(t, 0, leaving.Signal(syscall.SIGTERM))
	second.Processes()[0].Kill()
	must(t, 0, leaving.Wait(within(t, patience)))
	first.letsGoOf(leaving)
	second.letsGoOf(leaving)
	time.Sleep(time.Second) // of load
	noneLost(t, loads)
}
