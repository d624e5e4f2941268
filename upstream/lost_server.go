package upstream

import (
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// tallies is how many counts of an EDS server are kept.
const tallies = 8

// tally is how many Envoys an EDS server had at a time.
type tally struct {
	at      time.Time
	clients int
}

// appendTally appends t to the counts of one EDS server, and drops the oldest one beyond the bound.
func appendTally(of []tally, t tally) []tally {
	if len(of) == tallies {
		of = slices.Delete(of, 0, 1)
	}
	return append(of, t)
}

// servers are the EDS servers of a pool.
type servers struct {
	here  []uuid.UUID
	lost  []lostServer // that died without a word, not long before a drain began or since
	until time.Time    // by then the Envoys of our bootstrap have left those that are not here
	slow  time.Time    // and by then others; what is not known of them then stays so

	byAddress map[netip.AddrPort][]uuid.UUID // all of them, dead ones too, by their gossip address
}

// lostServer is an EDS server that died without notice.
type lostServer struct {
	id     uuid.UUID
	gossip netip.AddrPort
	since  time.Time // when gossip noticed
}

func serversOf(members []*fleet.Member, began time.Time) (s servers) {
	s.byAddress = make(map[netip.AddrPort][]uuid.UUID)
	for _, m := range members {
		if m.Role != fleet.RoleEDS {
			continue
		}
		s.byAddress[m.Gossip] = append(s.byAddress[m.Gossip], m.ID)
		if m.Liveness == fleet.Alive && m.Endpoint.Health != fleet.Draining {
			s.here = append(s.here, m.ID)
			continue
		}
		if t := m.Since.Add(orphaned); t.After(s.until) {
			s.until = t
		}
		if t := m.Since.Add(unaccounted); m.Liveness == fleet.Dead && t.After(began) {
			s.lost = append(s.lost, lostServer{id: m.ID, gossip: m.Gossip, since: m.Since})
			if t.After(s.slow) {
				s.slow = t
			}
		}
	}
	return s
}

// missing returns how many Envoys fewer the EDS servers have now than there were when one
// of the lost servers died. An Envoy that was at one server after another is one Envoy, so
// only what servers had at the same time is added up.
func (l *ledger) missing(s servers) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := 0
	for _, lost := range s.lost {
		death, n := l.death(lost, s), 0
		for _, other := range s.lost {
			if !l.death(other, s).Before(death) {
				n += l.clientsAt(other.id, death)
			}
		}
		for _, id := range s.here {
			n += l.clientsAt(id, death)
		}
		before = max(before, n)
	}
	for _, id := range s.here {
		if r := l.receipts[id]; r.State == fleet.ReceiptGone {
			before -= r.Clients
		}
	}
	return max(before, 0)
}

// death returns when a server died at the latest: gossip notices it seconds later, and by
// then a new server at the same address may have taken over its Envoys.
func (l *ledger) death(lost lostServer, s servers) time.Time {
	first, at := l.served[lost.id], lost.since
	for _, id := range s.byAddress[lost.gossip] {
		next := l.served[id]
		if id == lost.id || len(next) == 0 || len(first) > 0 && !next[0].at.After(first[0].at) {
			continue
		}
		if t := next[0].at.Add(-1); t.Before(at) {
			at = t
		}
	}
	return at
}

// clientsAt returns the last count that a server sent until then, 0 if it had sent none.
func (l *ledger) clientsAt(id uuid.UUID, then time.Time) (n int) {
	for _, t := range l.served[id] {
		if !t.at.After(then) {
			n = t.clients
		}
	}
	return n
}
