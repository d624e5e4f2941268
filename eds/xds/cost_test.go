package xds

import (
	"fmt"
	"testing"

	"github.com/rollcall-fleet/rollcall/eds/registry"
)

// A change costs the services that it touches: the others are compared, no more.
func TestUpdateOfOneServiceLeavesTheOthersAlone(t *testing.T) {
	const services = 1_000
	snapshot := func(host string) *registry.Snapshot {
		all := []registry.Service{service("a", host)}
		for i := range services {
			s := crowd(10, 1)
			s.Name = fmt.Sprintf("s%d", i)
			all = append(all, s)
		}
		return settled(all...)
	}
	s := New(Options{})
	snaps := []*registry.Snapshot{snapshot(hostA), snapshot(hostB)}
	n := 0
	allocs := testing.AllocsPerRun(10, func() {
		s.Update(snaps[n%2])
		n++
	})
	if allocs > services {
		t.Errorf("an update made %.0f allocations for one host of %d services", allocs, services)
	}
}
