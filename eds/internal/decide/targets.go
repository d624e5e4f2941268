package decide

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/turns"
)

// provenFor is how long an endpoint whose ports refuse is asked again, once gossip
// has given it up too: its process cannot come back under the same id.
const provenFor = time.Minute

// targets are those whom to probe: the live members that allow it, the lost ones
// that may come back, and the manual endpoints for which an operator asked. A member that
// stays as it was costs nothing. The loop's goroutine owns them.
type targets struct {
	self   uuid.UUID
	turn   turns.Turn
	aims   []aim // of the members, by id
	manual []probe.Target
	list   []probe.Target // of both, replaced and never written
}

// turnOf is the place of self among the live EDS servers, by id.
func turnOf(self uuid.UUID, members []*fleet.Member) (t turns.Turn) {
	for _, m := range members {
		if m.Role != fleet.RoleEDS || m.Liveness != fleet.Alive || m.Quarantine != "" || m.ID == self {
			continue
		}
		t.Shares++
		if bytes.Compare(m.ID[:], self[:]) < 0 {
			t.Share++
		}
	}
	t.Shares++ // this one
	return t
}

// aim is how a member is probed.
type aim struct {
	member  *fleet.Member
	turn    turns.Turn
	target  *probe.Target // nil: not at all
	lost    bool          // whether it is given up depends on the time and the evidence
	givenUp bool          // stays set while it is lost
}

// update brings the list to what its arguments say, and reports whether it is another
// one. Equal input gives an equal list, in order.
func (t *targets) update(now time.Time, members []*fleet.Member, overrides []override.Override, evidence map[probe.Key]probe.Evidence) bool {
	aims, moved, old := make([]aim, len(members)), false, t.aims
	t.turn = turnOf(t.self, members)
	for i, m := range members {
		for len(old) > 0 && fleet.CompareIDs(old[0].member, m) < 0 {
			moved = moved || old[0].asked() != nil
			old = old[1:]
		}
		var was aim
		if len(old) > 0 && fleet.CompareIDs(old[0].member, m) == 0 {
			was, old = old[0], old[1:]
		}
		aims[i] = was.follow(now, m, t.turn, evidence)
		moved = moved || aims[i].asked() != was.asked()
	}
	moved = moved || slices.ContainsFunc(old, func(a aim) bool { return a.asked() != nil })
	t.aims = aims
	if manual := manualTargets(overrides, t.turn); !slices.Equal(manual, t.manual) {
		t.manual, moved = manual, true
	}
	if !moved {
		return false
	}
	list := make([]probe.Target, 0, len(t.list)+1)
	for _, a := range aims {
		if asked := a.asked(); asked != nil {
			list = append(list, *asked)
		}
	}
	t.list = append(list, t.manual...)
	return true
}

// follow is the aim of m, which may be new, where a was the one before. Its target is
// the same one if it says the same.
func (a aim) follow(now time.Time, m *fleet.Member, mine turns.Turn, evidence map[probe.Key]probe.Evidence) aim {
	if was := a; a.member != m || a.turn != mine {
		a = aim{member: m, turn: mine, target: targetOf(m, mine), lost: m.Liveness == fleet.Dead}
		if was.target != nil && a.target != nil {
			a.givenUp = was.givenUp && a.target.Key == was.target.Key
			if *a.target == *was.target {
				a.target = was.target
			}
		}
	}
	a.givenUp = a.lost && a.target != nil && (a.givenUp || givenUp(now, m, evidence[a.target.Key]))
	return a
}

// asked is the target, if it is in the list.
func (a aim) asked() *probe.Target {
	if a.givenUp {
		return nil
	}
	return a.target
}

// targetOf says how to probe m; nil: not at all. A program that another process registered
// is checked by the EDS servers in turns, unless that process checks it and reports.
func targetOf(m *fleet.Member, mine turns.Turn) *probe.Target {
	if m.Role != fleet.RoleUpstream || m.Quarantine != "" || m.Liveness == fleet.Left {
		return nil
	}
	t := &probe.Target{Key: keyOf(m), Kind: m.Probe.Kind, Path: m.Probe.Path, Gossip: m.Gossip, Interval: m.Probe.Interval, Timeout: m.Probe.Timeout}
	switch {
	case m.Probe.Kind == fleet.ProbeNone && !m.Gossip.IsValid():
		return nil
	case m.Probe.Kind != fleet.ProbeNone && m.Probe.OnBehalf:
		t.Foreign, t.Gossip = true, netip.AddrPort{}
		t.Turn = mine
		t.Turn.Shares++ // the registrar has the last one
	}
	return t
}

// keyOf names the endpoint of m to the probes.
func keyOf(m *fleet.Member) probe.Key { return probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr} }

func manualTargets(overrides []override.Override, mine turns.Turn) (targets []probe.Target) {
	for i := range overrides {
		for _, h := range overrides[i].Hosts {
			if h.Probe {
				targets = append(targets, probe.Target{Key: probe.Key{Addr: h.Addr}, Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath, Foreign: true, Turn: mine})
			}
		}
	}
	return targets
}

// givenUp reports whether a lost member is not to be asked any more: its evidence
// ends with the target.
func givenUp(now time.Time, m *fleet.Member, e probe.Evidence) bool {
	switch {
	case m.Endpoint.Health == fleet.Draining, e.Verdict == probe.Replaced:
		return true
	case e.Verdict == probe.Dead:
		return now.Sub(m.Since) > provenFor
	default:
		return false
	}
}
