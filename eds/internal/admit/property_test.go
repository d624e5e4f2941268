package admit

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// byMember are proofs that differ.
type byMember struct {
	states   map[uuid.UUID]vouch.State
	revision uint64
}

func (p *byMember) State(m *fleet.Member) vouch.State { return p.states[m.ID] }
func (p *byMember) Revision() uint64                  { return p.revision }

// Whatever comes, goes and changes: no list that was handed over is modified,
// each member is judged as a Gate would that sees it for the first time, places are
// neither exceeded nor lost, and no member is refused for lack of room where there is some.
func TestGateThatRemembersDecidesLikeOneThatDoesNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := &byMember{states: map[uuid.UUID]vouch.State{}}
		opts := Options{Proofs: known, MaxServices: 2, MaxEndpoints: 2}
		g, pool := gate(opts), map[byte]*fleet.Member{}
		had := map[uuid.UUID]string{}
		for range rapid.IntRange(1, 30).Draw(t, "turns") {
			turn(t, pool, known)
			members := slices.Collect(maps.Values(pool))
			fleet.SortMembers(members)
			r := g.Admit(members)
			if i := slices.IndexFunc(members, func(m *fleet.Member) bool { return m.Quarantine != "" }); i >= 0 {
				t.Fatalf("%v was written to", members[i])
			}
			again := g.Admit(members)
			if again.Moved || len(again.News) > 0 || !maps.Equal(again.Refused, r.Refused) {
				t.Fatalf("the same list gives %+v after %+v", again, r)
			}
			had = places(t, opts, r, had)
		}
	})
}

// turn changes one thing.
func turn(t *rapid.T, pool map[byte]*fleet.Member, known *byMember) {
	n := byte(rapid.IntRange(1, 6).Draw(t, "member"))
	m := member(n)
	if was := pool[n]; was != nil {
		m = *was
	}
	switch rapid.SampledFrom([]string{"service", "service", "gone", "lost", "back", "moved", "proof", "nothing"}).Draw(t, "event") {
	case "service":
		m.Service = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
	case "gone":
		delete(pool, n)
		return
	case "lost":
		m.Liveness = fleet.Dead
	case "back":
		m.Liveness = fleet.Alive
	case "moved":
		m = member(n, at(fmt.Sprintf("10.0.0.%d:7946", rapid.IntRange(7, 8).Draw(t, "gossip")), "10.0.0.7:8080"))
	case "proof":
		known.revision++
		known.states[m.ID] = vouch.State(rapid.IntRange(0, 4).Draw(t, "state"))
	}
	pool[n] = &m
}

// places checks who has one after r, and returns them.
func places(t *rapid.T, opts Options, r Result, had map[uuid.UUID]string) map[uuid.UUID]string {
	has, taken := map[uuid.UUID]string{}, map[string]int{}
	var prove []uuid.UUID
	for _, m := range r.Members {
		own := gate(opts).Admit([]*fleet.Member{new(plain(*m))})
		if want := own.Members[0].Quarantine; want != "" && m.Quarantine != want {
			t.Fatalf("%v is refused for %q, want %q", m.ID, m.Quarantine, want)
		}
		if len(own.Prove) > 0 {
			prove = append(prove, m.ID)
		}
		if m.Liveness == fleet.Alive && m.Quarantine == "" {
			has[m.ID] = m.Service
			taken[m.Service]++
		} else if m.Liveness == fleet.Alive && len(own.Refused) == 0 && had[m.ID] == m.Service {
			t.Fatalf("%v has lost its place: %q", m.ID, m.Quarantine)
		}
	}
	for _, m := range r.Members {
		if n := taken[m.Service]; n > 2 || len(taken) > 2 {
			t.Fatalf("places are exceeded: %v", taken)
		} else if m.Liveness == fleet.Alive && m.Quarantine != "" && (n < 2 && (n > 0 || len(taken) < 2)) && len(gate(opts).Admit([]*fleet.Member{new(plain(*m))}).Refused) == 0 {
			t.Fatalf("%v is refused for %q, and there is room: %v", m.ID, m.Quarantine, taken)
		}
	}
	if !slices.EqualFunc(r.Prove, prove, func(m *fleet.Member, id uuid.UUID) bool { return m.ID == id }) {
		t.Fatalf("to be proven are %v, want %v", r.Prove, prove)
	}
	return has
}

func plain(m fleet.Member) fleet.Member {
	m.Quarantine = ""
	return m
}
