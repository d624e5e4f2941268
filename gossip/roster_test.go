package gossip

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestARosterIsWhatOneMadeAnewWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r roster
		byName := make(map[string]*record)
		var before, kept []*fleet.Member
		for step := range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.SampledFrom([]int{0, 1, 2, maxPatch + 8}).Draw(t, "changes") {
				name := fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "name"))
				id := uuid.NewSHA1(uuid.Nil, []byte(name))
				if byName[name] = (&record{Member: &fleet.Member{ID: id, Revision: uint64(step)}, hidden: rapid.Bool().Draw(t, "hidden")}); rapid.Bool().Draw(t, "forgotten") {
					delete(byName, name)
				}
				r.note(name, id)
			}
			got := r.of(byName)
			if want := (&roster{}).of(byName); !slices.EqualFunc(got, want, (*fleet.Member).Equal) {
				t.Fatalf("the roster is %v, made anew %v", got, want)
			}
			if !slices.EqualFunc(before, kept, (*fleet.Member).Equal) {
				t.Fatal("what a reader holds was written to")
			}
			before, kept = got, slices.Clone(got)
			if grown := append(got, &fleet.Member{}); len(got) > 0 && &grown[0] == &got[0] {
				t.Fatal("a reader that appends writes where the next one reads")
			}
		}
	})
}

func BenchmarkRoster(b *testing.B) {
	byName := make(map[string]*record)
	var names []string
	for i := range 10_000 {
		id := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i))
		names = append(names, id.String())
		byName[id.String()] = &record{Member: &fleet.Member{ID: id}}
	}
	var r roster
	r.of(byName)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := names[i*7919%len(names)]
		r.note(name, byName[name].ID)
		r.of(byName)
	}
}
