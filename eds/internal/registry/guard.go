package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
)

const (
	guardLeast  = 3                // endpoints that a service has at least for the guard to mind it
	guardWindow = 30 * time.Second // silences that belong together
	guardCalm   = 5 * time.Second  // without a majority missing, before the guard ends
)

// Guard is the refusal to take most of a service out because nothing is heard of it.
type Guard struct {
	Since time.Time
	Until time.Time // when it ends in any case; zero while this server hears no endpoint
	Held  int       // endpoints that are served although they are silent, or contradicted

	// Contradicted is how many of Held are alive by a fresh answer, although connections to
	// them fail. They are held however few they are, for as long as they answer.
	Contradicted int
}

// count adds an endpoint that is held. Where the guard itself does not hold, g is as old as the
// first contradiction.
func (g *Guard) count(c *candidate) {
	g.Held++
	if c.silent.contradicted {
		g.Contradicted++
		if g.Since.IsZero() || c.proposal.since.Before(g.Since) {
			g.Since = c.proposal.since
		}
	}
}

// Silent reports whether g holds endpoints of which nothing is heard.
func (g *Guard) Silent() bool { return g != nil && g.Held > g.Contradicted }

// silent is what is remembered of an endpoint while silence, or refusals that prove
// nothing, would remove it.
type silent struct {
	contradicted bool      // held since it is alive by a fresh answer, not by the guard
	went         time.Time // when it was removed, unless it is held; zero: it does not count
	held         bool      // it is in service nevertheless
	final        bool      // not held again before it answers
}

// newSilent is for an endpoint that falls silent now. One that was out of service stays out.
func newSilent(inService bool) *silent {
	if !inService {
		return &silent{final: true}
	}
	return &silent{held: true}
}

// hang is for a host whose port alone is silent. That proves that it hangs where another
// endpoint of its service is heard. Where none is, a firewall may drop what is sent to
// their ports: it stays as it is, and if none is left at all, comes back if it has only
// just gone.
func (m *silent) hang(now time.Time, others reach) {
	switch others {
	case heard:
		m.contradicted = false
		m.release(now)
		return
	case nothing:
		m.hold(now)
	case unheard:
	}
	m.contradicted = m.contradicted || m.held
}

func (m *silent) isHeld() bool { return m != nil && m.held }

// recent reports whether m was removed so recently that its silence and one of now count
// together.
func (m *silent) recent(now time.Time) bool { return now.Sub(m.went) < guardWindow }

// holdable reports whether m would be in service if it were held.
func (m *silent) holdable(now time.Time) bool { return m.held || (!m.final && m.recent(now)) }

// hold keeps m in service, or returns it to service if it was removed just now.
func (m *silent) hold(now time.Time) { m.held = m.holdable(now) }

// release removes m from service.
func (m *silent) release(now time.Time) {
	if m.held {
		m.held, m.went = false, now
	}
}

// guard is the state of one service's guard.
type guard struct {
	on    bool
	since time.Time
	until time.Time // zero while suspended
	calm  time.Time // since when less than a majority is missing; zero while more is
}

// tally is what the guard judges by.
type tally struct {
	serving int       // endpoints that nothing speaks against
	late    int       // of these, whose last probe timed out
	silents []*silent // who is held or not
}

// decide says who of the silent is held. Those whose last probe timed out are
// counted with them, since silences that begin together are judged together; else
// half of them would be removed before there was a majority.
func (g *guard) decide(now time.Time, opts Options, t tally) {
	gone, held, holdable := t.count(now)
	all := t.serving + gone
	majority := opts.Guard > 0 && float64(gone+t.late) > opts.Guard*float64(all)
	if g.on && g.until.IsZero() {
		g.until = now.Add(opts.GuardHold)
	}
	switch {
	case !g.on && majority && holdable > 0 && all >= guardLeast:
		*g = guard{on: true, since: now, until: now.Add(opts.GuardHold)}
	case !g.on:
	case held == 0:
		g.on = false
	case !now.Before(g.until):
		g.release(time.Time{}, t.silents)
	case majority:
		g.calm = time.Time{}
	case g.calm.IsZero():
		g.calm = now
	case now.Sub(g.calm) >= guardCalm:
		g.release(now, t.silents)
	}
	for _, m := range t.silents {
		if g.on {
			m.hold(now)
		} else {
			m.release(now)
		}
	}
}

func (t tally) count(now time.Time) (gone, held, holdable int) {
	for _, m := range t.silents {
		if m.held {
			held++
		}
		if m.holdable(now) {
			holdable++
		}
		if m.held || m.recent(now) {
			gone++
		}
	}
	return gone, held, holdable
}

// release removes those that are held from service, for good. They count as removed at
// the given time.
func (g *guard) release(at time.Time, silents []*silent) {
	g.on = false
	for _, m := range silents {
		if m.held {
			*m = silent{went: at, final: true}
		}
	}
}

// confirm ends the guard at an operator's request. It reports whether any endpoint was
// held. Endpoints known to be dead do not count as silent ones.
func (g *guard) confirm(silents map[probe.Key]*silent) bool {
	g.on = false
	any := false
	for _, m := range silents {
		if m.held {
			any = true
			*m = silent{contradicted: m.contradicted, final: true}
		}
	}
	return any
}

// suspend freezes the guard while no endpoint is judged.
func (g *guard) suspend() { g.until, g.calm = time.Time{}, time.Time{} }

// due is when decide would answer differently though nothing else changes; zero
// for never.
func (g *guard) due(now time.Time, t tally) time.Time {
	if !g.on {
		return time.Time{}
	}
	due := soonest{now: now}
	due.add(g.until)
	if !g.calm.IsZero() {
		due.add(g.calm.Add(guardCalm))
		return due.at
	}
	for _, m := range t.silents {
		if !m.held {
			due.add(m.went.Add(guardWindow)) // it counts no more
		}
	}
	return due.at
}
