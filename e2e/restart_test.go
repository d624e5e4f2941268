package e2e

import (
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
)

// restartsAll restarts the EDS servers of a fleet whose upstreams live, and fails the
// test unless Envoy kept all of them and no request failed.
func restartsAll(t *testing.T, r faults.Restart) {
	t.Parallel()
	saw, err := r.Run(within(t, 2*patience), newHarness(t).Fleet)
	must(t, saw, err)
	t.Logf("all served again after %s", saw.Took)
	if saw.Fewest != r.Upstreams {
		t.Errorf("envoy held %d of %d endpoints", saw.Fewest, r.Upstreams)
	}
	if saw.Requests < 500 {
		t.Errorf("only %d requests were made, too few to say anything", saw.Requests)
	}
	for i, err := range saw.Failed {
		if i < 3 {
			t.Errorf("%d of %d requests failed: %v", len(saw.Failed), saw.Requests, err)
		}
	}
}

// Each kind once; the table is TestLongEDSServersThatRestartLoseNoEndpoint.
func TestEDSServerThatRestartsLosesNoEndpoint(t *testing.T) {
	for _, r := range []faults.Restart{
		{API: "delta-ads", Upstreams: 5, Signal: syscall.SIGKILL, Early: true},
		{API: "rest", Upstreams: 5, Signal: syscall.SIGKILL, Lost: true},
		{API: "grpc", Upstreams: 5, Signal: syscall.SIGKILL, Lost: true, Pair: true},
		{API: "delta-ads", Upstreams: 5, Signal: syscall.SIGTERM, Lost: true},
	} {
		t.Run(r.String(), func(t *testing.T) { restartsAll(t, r) })
	}
}
