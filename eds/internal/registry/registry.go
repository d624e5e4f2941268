package registry

import (
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The defaults of Options. A probe that is lost just before the network heals
// costs its time-out, which is longest then, and the wait for the next tick: with
// probes each second, a round of two would be too short by a little.
const (
	DefaultGuard     = 0.5
	DefaultGuardHold = 10 * time.Minute
	DefaultRound     = 3 * time.Second
)

// rejoin is how long gossip takes to see all members again after this server could not.
const rejoin = 15 * time.Second

// Options says when the registry refuses to believe.
type Options struct {
	// Guard is the share of a service's endpoints that may go by silence within
	// 30 s; more than that are held. 0 turns the guard off.
	Guard     float64
	GuardHold time.Duration // the longest that the guard holds
	Round     time.Duration // in which every endpoint that can be heard is heard
}

// Input is what Decide decides from. Decide keeps Members, and the values in the
// rest: callers must not modify them afterwards.
type Input struct {
	Now       time.Time // never before that of the last call
	Settled   bool
	Revision  uint64 // of Overrides
	Members   []*fleet.Member
	Overrides []override.Override // sorted by key, each key once
	Evidence  map[probe.Key]probe.Evidence
	// EvidenceRevision is another one after each change of Evidence; 0 says that it
	// is not known.
	EvidenceRevision uint64
	Woke             time.Time // when this process last came back from a pause
}

// Registry decides which endpoints serve. It is a deterministic machine: its only
// clock is Input.Now, and it does no I/O. One goroutine owns it.
type Registry struct {
	opts Options

	last     *Snapshot          // the last one
	index    index              // what the last one was made from
	memories map[string]*memory // of the services of which more than that matters

	isolated            bool
	deafUntil           time.Time // until then what is not heard is held
	distrustGossipUntil time.Time // until then a member that only gossip calls dead is not removed
}

// New returns a Registry that has seen nothing.
func New(opts Options) *Registry {
	return &Registry{opts: opts, last: &Snapshot{}, index: newIndex(), memories: make(map[string]*memory)}
}

// Confirm says that an operator knows the silent endpoints of a service to be dead:
// those that are held now go at the next Decide. It reports whether there are any.
func (r *Registry) Confirm(service string) bool {
	m := r.memories[service]
	return m != nil && m.guard.confirm(m.silents)
}

// Decide makes the Snapshot for this moment, and says when it is to be called
// again even if nothing changes; zero for never. A member that gossip has forgotten is
// dropped with the Snapshot that removes it: the rest is decided without it, so that
// nothing depends on how often Decide is called.
func (r *Registry) Decide(in Input) (*Snapshot, time.Time) {
	snap, due := r.decide(in)
	for len(snap.Members) > len(in.Members) && len(r.keepServed(in.Members)) < len(snap.Members) {
		snap, due = r.decide(in)
	}
	return snap, due
}

func (r *Registry) decide(in Input) (*Snapshot, time.Time) {
	snap := &Snapshot{Settled: in.Settled, Revision: in.Revision, Members: r.keepServed(in.Members)}
	r.index.update(&in, snap.Members)
	services := r.index.sorted
	for _, c := range services {
		r.findSilent(c)
	}
	r.listen(in, services)
	snap.Isolated = r.isolated
	due := soonest{now: in.Now}
	snap.Services = make([]Service, 0, len(services))
	for _, c := range services {
		r.hold(in.Now, c, &due)
		r.countRemovals(in.Now, c)
		if s := r.serve(in.Now, c, &due); len(s.Hosts) > 0 || c.mode != override.Auto {
			snap.Services = append(snap.Services, s)
		}
	}
	r.last = snap
	r.forget(in.Now)
	return snap, due.at
}

// keepServed sorts the members, and adds those that gossip gave up so long ago
// that it has forgotten them, but that are still served: because they answer, or
// because this server has heard no endpoint for longer than gossip remembers.
func (r *Registry) keepServed(members []*fleet.Member) []*fleet.Member {
	if !sorted(members, r.last.Members) {
		members = slices.Clone(members)
		fleet.SortMembers(members)
	}
	forgotten := slices.DeleteFunc(missing(r.last.Members, members), func(m *fleet.Member) bool {
		h, _ := r.last.host(m.Service, keyOf(m))
		return m.Liveness != fleet.Dead || !h.Served
	})
	if len(forgotten) > 0 {
		members = slices.Concat(members, forgotten)
		fleet.SortMembers(members)
	}
	return members
}

// sorted reports whether members are by id. Those that stand where they stood in was,
// which is sorted, are not looked at.
func sorted(members, was []*fleet.Member) bool {
	for i := 1; i < len(members); i++ {
		stayed := i < len(was) && members[i] == was[i] && members[i-1] == was[i-1]
		if !stayed && fleet.CompareIDs(members[i-1], members[i]) > 0 {
			return false
		}
	}
	return true
}

// missing returns those of was that are not among now; both are by id.
func missing(was, now []*fleet.Member) (gone []*fleet.Member) {
	for _, m := range was {
		for len(now) > 0 && fleet.CompareIDs(now[0], m) < 0 {
			now = now[1:]
		}
		if len(now) > 0 && fleet.CompareIDs(now[0], m) == 0 {
			now = now[1:]
		} else {
			gone = append(gone, m)
		}
	}
	return gone
}

// countRemovals reports to damping which endpoints are removed now without having asked. One that is alive by a fresh
// answer does not flap: another process at its address, or an operator, takes it out.
func (r *Registry) countRemovals(now time.Time, c *candidates) {
	if c.bad == 0 {
		return
	}
	for _, cand := range c.ranked {
		if !cand.proposal.reason.against() || cand.proposal.reason == contradicted || cand.silent.isHeld() || cand.forced || cand.yields() && cand.superseded {
			continue
		}
		if was, _ := r.last.host(c.name, cand.key); was.Served {
			r.memory(c.name).damped.removed(now, was.Addr)
		}
	}
}

// dampShare is which part of a service damping may keep waiting: what the guard allows to
// go.
func (r *Registry) dampShare() float64 {
	if r.opts.Guard > 0 {
		return r.opts.Guard
	}
	return DefaultGuard
}

// serve puts together what is shown of a service, and what of it is served. It is
// what it was where neither the candidates nor a memory ask for something else.
func (r *Registry) serve(now time.Time, c *candidates, due *soonest) Service {
	m := r.memories[c.name]
	if m != nil {
		m.damped.spare(now, c, r.dampShare())
	}
	if c.changed || !c.plain || m != nil {
		c.shown = c.decide(now, m, due)
		c.changed, c.plain = false, m == nil
	}
	return c.shown
}

// decide judges each candidate. What is remembered of the service may be nil: those
// that were judged without, and have not changed, are not judged again.
func (c *candidates) decide(now time.Time, m *memory, due *soonest) Service {
	s := Service{Name: c.name, Mode: c.mode, Hosts: make([]*Host, 0, len(c.ranked))}
	var kept Guard
	for i := range c.ranked {
		cand := &c.ranked[i]
		if m != nil || !c.plain || !cand.judged {
			o := cand.judge(now, m, due)
			if cand.judged = true; o.served || !cand.proposal.hidden {
				cand.show(o)
			} else {
				cand.host = nil
			}
			if o.held {
				kept.count(cand.candidate)
			}
		}
		switch {
		case cand.host != nil:
			s.Hosts = append(s.Hosts, cand.host)
		case cand.departed() && (i == 0 || c.ranked[i-1].key.Addr != cand.key.Addr):
			s.Departed++
		}
	}
	if m != nil && m.guard.on {
		kept.Since, kept.Until = m.guard.since, m.guard.until
	}
	if m != nil && (m.guard.on || kept.Contradicted > 0) {
		s.Guard = &kept
	}
	return s
}

// judge says whether c is served. Damping continues to count for one that is forced,
// for the time when it is not forced any more.
func (c *candidate) judge(now time.Time, m *memory, due *soonest) outcome {
	if c.outranked {
		return outcome{}
	}
	o := outcome{served: true}
	switch {
	case c.proposal.reason == none && m != nil && !c.unasked():
		o = m.damped.apply(now, c.key.Addr, due)
	case c.proposal.reason != none:
		held := c.silent.isHeld()
		o = outcome{served: held, held: held}
		if m != nil {
			m.damped.bad(c.key.Addr)
		}
	}
	if c.forced {
		return outcome{served: true}
	}
	return o
}

// soonest keeps the earliest of the moments after now that are added to it.
type soonest struct{ now, at time.Time }

func (s *soonest) add(t time.Time) {
	if t.After(s.now) && (s.at.IsZero() || t.Before(s.at)) {
		s.at = t
	}
}
