package xds

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestStandingsAreASortedMap(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	rapid.Check(t, func(t *rapid.T) {
		var s standings
		want := make(map[string]uint64)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch list := rapid.SliceOf(names).Draw(t, "names"); rapid.SampledFrom([]string{"add", "put", "remove"}).Draw(t, "do") {
			case "add":
				s.add(list, DefaultMaxNames)
				for _, name := range list {
					want[name] += 0
				}
			case "put":
				for _, name := range list {
					s.put(name, DefaultMaxNames).seq++
					want[name]++
				}
			case "remove":
				s.remove(list)
				for _, name := range list {
					delete(want, name)
				}
			}
			var have []string
			for _, st := range s {
				have = append(have, st.name.Value())
				if s.find(st.name.Value()).seq != want[st.name.Value()] {
					t.Fatalf("%s has %d, want %d", st.name.Value(), st.seq, want[st.name.Value()])
				}
			}
			if !slices.Equal(have, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("have %v, want %v", have, want)
			}
		}
	})
}

// A drain also waits for a client that asked for more names than the default.
func TestClientWithMoreNamesIsFollowedOnAllOfThem(t *testing.T) {
	names := make([]string, DefaultMaxNames+1)
	for i := range names {
		names[i] = fmt.Sprintf("s%06d", i)
	}
	c, _ := newClients(10, len(names)).open(TransportADS, "10.0.0.1:2", time.Now())
	c.acks.subscribe(names)
	if _, asked := c.acks.seq(names[len(names)-1]); !asked {
		t.Error("the last of them is not followed")
	}
}
