package xds

import (
	"testing"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// What one change of a service of 10,000 endpoints costs: the registry's
// goroutine, and the bytes.
func BenchmarkUpdateOneOf10000(b *testing.B) {
	s := New(Options{})
	snaps := []*registry.Snapshot{settled(crowd(10_000, 1)), settled(crowd(10_000, 2))}
	s.Update(snaps[0])
	n := 0
	for b.Loop() {
		n++
		s.Update(snaps[n%2])
	}
}
