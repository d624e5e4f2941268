//go:build long

package e2e

import (
	"testing"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
)

func TestLongEDSServersThatRestartLoseNoEndpoint(t *testing.T) {
	for _, r := range faults.Restarts(5) {
		t.Run(r.String(), func(t *testing.T) { restartsAll(t, r) })
	}
}
