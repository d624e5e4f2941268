package xds

import (
	"maps"
	"slices"
	"testing"
	"unique"

	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"pgregory.net/rapid"
)

// go-control-plane knows the rules of the protocol.
func TestSubscriptionEqualsGoControlPlanes(t *testing.T) {
	some := rapid.SliceOfN(rapid.SampledFrom([]string{"*", "a", "b", "c", "d"}), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		var s subscription
		var want streamv3.Subscription
		delta := rapid.Bool().Draw(t, "delta")
		for i := range rapid.IntRange(1, 8).Draw(t, "requests") {
			names, before := some.Draw(t, "names"), s.names
			kept := slices.Clone(before)
			if delta {
				drop := some.Draw(t, "drop")
				s.change(names, drop)
				if i == 0 {
					want = streamv3.NewDeltaSubscription(names, drop, nil, false)
				} else {
					want.UpdateResourceSubscriptions(names, drop)
				}
			} else {
				s.set(names)
				if i == 0 {
					want = streamv3.NewSotwSubscription(names, false)
				} else {
					want.SetResourceSubscription(names)
				}
			}
			if got, want := s.names.minus(nil), slices.Sorted(maps.Keys(want.SubscribedResources())); !slices.Equal(got, want) {
				t.Fatalf("names are %q, want %q", got, want)
			}
			if s.all != want.IsWildcard() {
				t.Fatalf("wildcard is %t", s.all)
			}
			if !slices.Equal(before, kept) {
				t.Fatal("what is watched was written to")
			}
			both := slices.DeleteFunc(s.names.minus(nil), func(n string) bool { return !before.has(n) })
			if all := slices.Sorted(slices.Values(slices.Concat(both, s.names.minus(before)))); !slices.Equal(all, s.names.minus(nil)) {
				t.Fatalf("%q are new", s.names.minus(before))
			}
		}
	})
}

func TestStreamsWithTheSameNamesShareOneList(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("a", hostA), service("b", hostA)))
	for _, open := range transports {
		c := open(t, s.conn)
		c.subscribe("b", "a")
		c.ack(next(t, c, "1", "a: "+hostA, "b: "+hostA))
	}
	list := func(w *watcher) *unique.Handle[string] { return &w.names[0] }
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	watchers := s.cache.entries["a"].watchers
	for _, w := range watchers[1:] {
		if list(w) != list(watchers[0]) {
			t.Error("a stream has a list of its own")
		}
	}
	if len(watchers) != len(transports) {
		t.Errorf("%d streams ask for it", len(watchers))
	}
}
