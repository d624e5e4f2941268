package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
)

const (
	guardLeast  = 3                // endpoints that a service has at least for the guard to mind it
	guardWindow = 30 * time.Second // silences that belong together
	guardCalm   = 5 * time.Second  // without a majority missing, before the guard lets go
)

// Guard is the refusal to take most of a service out because nothing is heard of it.
type Guard struct {
	Since time.Time
	Until time.Time // when it lets go in any case; zero while this server hears nobody
	Held  int       // endpoints that are served although they are silent, or contradicted

	// Contradicted is how many of Held are alive by a fresh answer, although connections to
	// them fail. They are held however few they are, for as long as they answer.
	Contradicted int
}

// count adds a host that is held. Where the guard itself does not hold, g is as old as the
// first contradiction.
func (g *Guard) count(c *candidate) {
	g.Held++
	if c.mute.contradicted {
		g.Contradicted++
		if g.Since.IsZero() || c.wish.since.Before(g.Since) {
			g.Since = c.wish.since
		}
	}
}

// Silent reports whether g holds endpoints of which nothing is heard.
func (g *Guard) Silent() bool { return g != nil && g.Held > g.Contradicted }

// mute is what is remembered of a host for as long as it would go by silence, or by
// refusals that are not proof.
type mute struct {
	contradicted bool      // held since it is alive by a fresh answer, not by the guard
	went         time.Time // when it went, unless it is held; zero: it does not count
	held         bool      // it is in service nevertheless
	final        bool      // it is not held again before it was heard
}

// newMute is for a host that is mute from now on. Held is held as it is: one that
// was out of service stays out.
func newMute(inService bool) *mute {
	if !inService {
		return &mute{final: true}
	}
	return &mute{held: true}
}

// hang is for a host whose port alone is silent. That proves that it hangs where another
// endpoint of its service is heard. Where none is, a firewall may drop what is sent to
// their ports: it stays as it is, and if none is left at all, comes back if it has only
// just gone.
func (m *mute) hang(now time.Time, others reach) {
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

func (m *mute) isHeld() bool { return m != nil && m.held }

// recent reports whether m went so lately that its silence belongs to one of now.
func (m *mute) recent(now time.Time) bool { return now.Sub(m.went) < guardWindow }

// holdable reports whether m would be in service if it were held.
func (m *mute) holdable(now time.Time) bool { return m.held || (!m.final && m.recent(now)) }

// hold keeps m in service, or brings it back if it has only just gone.
func (m *mute) hold(now time.Time) { m.held = m.holdable(now) }

// release lets m go.
func (m *mute) release(now time.Time) {
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
	serving int     // endpoints that nothing speaks against
	late    int     // of these, whose last probe timed out
	mutes   []*mute // who is held or not
}

// decide says who of the mute is held. Those whose last probe timed out are
// counted with them, since silences that begin together are judged together; else
// half of them would be gone before there was a majority.
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
		g.letGo(time.Time{}, t.mutes)
	case majority:
		g.calm = time.Time{}
	case g.calm.IsZero():
		g.calm = now
	case now.Sub(g.calm) >= guardCalm:
		g.letGo(now, t.mutes)
	}
	for _, m := range t.mutes {
		if g.on {
			m.hold(now)
		} else {
			m.release(now)
		}
	}
}

func (t tally) count(now time.Time) (gone, held, holdable int) {
	for _, m := range t.mutes {
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

// letGo lets those go that are held, for good. They count as gone at the given time.
func (g *guard) letGo(at time.Time, mutes []*mute) {
	g.on = false
	for _, m := range mutes {
		if m.held {
			*m = mute{went: at, final: true}
		}
	}
}

// confirm lets go at an operator's word; it reports whether anybody is held. What
// is known to be dead is no silence that others could belong to.
func (g *guard) confirm(mutes map[probe.Key]*mute) bool {
	g.on = false
	any := false
	for _, m := range mutes {
		if m.held {
			any = true
			*m = mute{contradicted: m.contradicted, final: true}
		}
	}
	return any
}

// suspend leaves the guard as it is, for as long as nobody is judged.
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
	for _, m := range t.mutes {
		if !m.held {
			due.add(m.went.Add(guardWindow)) // it counts no more
		}
	}
	return due.at
}
