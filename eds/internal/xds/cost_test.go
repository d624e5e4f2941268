package xds

import (
	"fmt"
	"testing"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
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

// The registry's goroutine waits for no encoding, and what was replaced before
// any client asked is never encoded.
func TestUpdateEncodesNothing(t *testing.T) {
	s := New(Options{})
	var passed []*assignment
	for weight := range uint32(3) {
		s.Update(settled(crowd(100, weight+1)))
		passed = append(passed, s.services["crowd"].current.assignment)
	}
	if _, ok := s.cache.lookup([]string{"crowd"}, ""); !ok {
		t.Fatal("nothing is there")
	}
	for i, a := range passed {
		if latest := i == len(passed)-1; a.done.Load() != latest {
			t.Errorf("assignment %d of %d is encoded: %t", i+1, len(passed), !latest)
		}
	}
}

func TestManyChangesNotifyAStreamOnce(t *testing.T) {
	c := newCache()
	w, ask, notify, _ := counted(false, "web", "api")
	announce(c, true, nil, nil)
	c.watch(w, ask, notify)
	c.collect(w, false)
	c.watch(w, change{}, notify)
	_, touched := c.update(true, []*resource{mustEncode("web", hostA), mustEncode("api", hostA)}, nil)
	_, again := c.update(true, []*resource{mustEncode("web", hostB)}, nil)
	if len(touched) != 1 || len(again) != 0 {
		t.Errorf("%d and %d to be notified, want one", len(touched), len(again))
	}
}
