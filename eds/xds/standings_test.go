package xds

import (
	"maps"
	"slices"
	"testing"

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
				s.add(list)
				for _, name := range list {
					want[name] += 0
				}
			case "put":
				for _, name := range list {
					s.put(name).seq++
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
