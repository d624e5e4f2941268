package registry

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The defaults of Options.
const (
	DefaultGuard     = 0.5
	DefaultGuardHold = 10 * time.Minute
	DefaultRound     = 2 * time.Second
)

// Options says when the registry refuses to believe.
type Options struct {
	// Guard is the share of a service's endpoints that may go by silence within
	// 30 s; more than that are held. 0 turns the guard off.
	Guard     float64
	GuardHold time.Duration // the longest that the guard holds
	Round     time.Duration // in which every endpoint is probed at least once
}

// Input is what Decide decides from. Decide keeps no reference to the slices and
// the map but shares the values in them.
type Input struct {
	Now       time.Time
	Settled   bool
	Revision  uint64 // of Overrides
	Members   []fleet.Member
	Overrides []override.Override // at most one for each service
	Evidence  map[probe.Key]probe.Evidence
	Woke      time.Time // when this process last came back from a pause
}

// Registry decides which endpoints serve. It is a deterministic machine: its state
// is what guard and damping remember, its only clock is Input.Now, and it does no
// I/O. One goroutine owns it.
type Registry struct {
	opts Options

	isolated  bool
	deafUntil time.Time // until then silence takes nobody out

	guards map[string]*guard  // by service
	damped map[place]*damping // of those that were taken out lately
	served map[place]bool     // in the last Snapshot
}

// New returns a Registry that has seen nothing.
func New(opts Options) *Registry {
	return &Registry{opts: opts, guards: make(map[string]*guard), damped: make(map[place]*damping), served: make(map[place]bool)}
}

// Confirm makes the guard of a service let go: an operator knows that the silent
// ones are dead. It reports whether the guard was holding.
func (r *Registry) Confirm(service string) bool {
	g := r.guards[service]
	if g == nil || !g.on {
		return false
	}
	g.confirmed = true
	return true
}

// Decide makes the Snapshot for this moment, and says when it is to be called
// again even if nothing changes; zero for never.
func (r *Registry) Decide(in Input) (*Snapshot, time.Time) {
	r.listen(in)
	due := dueSoonest{now: in.Now}
	if !r.isolated {
		due.add(r.deafUntil)
	}
	snap := &Snapshot{Settled: in.Settled, Revision: in.Revision, Isolated: r.isolated, Members: slices.Clone(in.Members)}
	fleet.SortMembers(snap.Members)
	served := make(map[place]bool, len(r.served))
	for _, c := range gather(in) {
		svc := r.decide(in.Now, c, &due)
		for _, h := range svc.Hosts {
			if h.Served {
				served[place{svc.Name, h.Addr}] = true
			}
		}
		snap.Services = append(snap.Services, svc)
	}
	slices.SortFunc(snap.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	r.served = served
	r.tidy(in.Now, snap)
	return snap, due.at
}

// listen notes whether anybody is heard at all. A server that reaches nobody, was
// itself paused, or hears again only now, believes no silence before every
// endpoint had its turn.
func (r *Registry) listen(in Input) {
	was := r.isolated
	r.isolated = isolated(in.Evidence)
	if was && !r.isolated {
		r.deafUntil = in.Now.Add(r.opts.Round)
	}
	if deaf := in.Woke.Add(r.opts.Round); !in.Woke.IsZero() && deaf.After(r.deafUntil) {
		r.deafUntil = deaf
	}
}

// isolated reports whether there are endpoints to hear and none is heard.
func isolated(evidence map[probe.Key]probe.Evidence) bool {
	watched := 0
	for _, e := range evidence {
		if !e.Tried {
			continue
		}
		if !e.Late && e.Verdict != probe.Silent {
			return false
		}
		watched++
	}
	return watched > 0
}

// decide settles one service: claims to an address, then the guard, then damping.
func (r *Registry) decide(now time.Time, c *candidates, due *dueSoonest) Service {
	claimants := c.claimants()
	holds := r.isolated || now.Before(r.deafUntil)
	g := r.guards[c.name]
	if g == nil {
		g = &guard{}
		r.guards[c.name] = g
	}
	serving, late, mute := weigh(claimants)
	guarded := g.decide(now, r.opts, holds, serving, late, mute)
	due.add(g.due(r.opts))
	svc := Service{Name: c.name, Mode: c.mode}
	held := 0
	for _, cl := range claimants {
		h := cl.host
		switch cl.wish.reason {
		case none:
			h.Served = true
		case silence:
			h.Served = (holds || guarded) && !g.released[cl.key]
		case contradicted:
			h.Served = guarded && !g.released[cl.key]
		}
		h.Held = h.Served && cl.wish.reason != none
		if h.Held {
			held++
		}
		r.damp(now, c.name, cl, &h, due)
		svc.Hosts = append(svc.Hosts, h)
	}
	svc.Hosts = append(svc.Hosts, c.others()...)
	sortHosts(svc.Hosts)
	if guarded {
		svc.Guard = &Guard{Since: g.since, Until: g.since.Add(r.opts.GuardHold), Held: held}
	}
	return svc
}

// weigh counts who serves, who of those is late, and who is mute.
func weigh(claimants []candidate) (serving, late int, mute []muted) {
	for _, c := range claimants {
		switch c.wish.reason {
		case none:
			serving++
			if c.wish.late {
				late++
			}
		case silence, contradicted:
			mute = append(mute, muted{c.key, c.wish.since})
		}
	}
	return serving, late, mute
}

// damp counts removals, and makes a host that came and went too often wait.
func (r *Registry) damp(now time.Time, service string, c candidate, h *Host, due *dueSoonest) {
	at := place{service, h.Addr}
	d := r.damped[at]
	switch {
	case c.wish.reason == none && d != nil:
		if until := d.until(now); now.Before(until) {
			h.Served, h.State, h.Until = false, StateDamped, until
			due.add(until)
		}
	case c.wish.reason > graceful && !h.Served && r.served[at]:
		if d == nil {
			d = &damping{}
			r.damped[at] = d
		}
		d.removed(now)
	case c.wish.reason != none && d != nil:
		d.back = time.Time{}
	}
}

// tidy forgets what no longer matters.
func (r *Registry) tidy(now time.Time, snap *Snapshot) {
	for at, d := range r.damped {
		if d.spent(now) {
			delete(r.damped, at)
		}
	}
	for name := range r.guards {
		if _, ok := snap.Find(name); !ok {
			delete(r.guards, name)
		}
	}
}

// dueSoonest keeps the earliest of the moments after now that are added to it.
type dueSoonest struct{ now, at time.Time }

func (d *dueSoonest) add(t time.Time) {
	if t.After(d.now) && (d.at.IsZero() || t.Before(d.at)) {
		d.at = t
	}
}

// keyOf is what the evidence about a host is filed under.
func keyOf(id string, addr netip.AddrPort) probe.Key { return probe.Key{ID: id, Addr: addr} }
