package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
)

// memory is what is remembered of one service.
type memory struct {
	guard   guard
	silents map[probe.Key]*silent
	damped  damped
}

// memory returns what is remembered of a service, to add to it.
func (r *Registry) memory(service string) *memory {
	m := r.memories[service]
	if m == nil {
		m = &memory{}
		r.memories[service] = m
	}
	return m
}

// forget drops what no longer matters.
func (r *Registry) forget(now time.Time) {
	for name, m := range r.memories {
		if _, known := r.index.services[name]; !known {
			m.silents, m.guard = nil, guard{}
		}
		m.damped.forget(now)
		if len(m.silents) == 0 && len(m.damped) == 0 && !m.guard.on {
			delete(r.memories, name)
		}
	}
}

// silentOf is what is remembered of an endpoint that is silent now. To be held by the guard, it must
// have been in service when it fell silent. One that is alive by a fresh answer is served
// even if it was taken out before the answer came, and that removal does not count.
func (m *memory) silentOf(cand *candidate, inService func() bool) *silent {
	was := m.silents[cand.key]
	if cand.proposal.reason != contradicted {
		if was == nil {
			return newSilent(inService())
		}
		was.contradicted = was.contradicted && cand.proposal.reason == hanging
		return was
	}
	if was == nil || !was.contradicted {
		if !inService() {
			m.damped.takeBack(cand.key.Addr)
		}
		return &silent{held: true, contradicted: true}
	}
	return was
}

// findSilent notes who of a service is silent, and since when.
func (r *Registry) findSilent(c *candidates) {
	m := r.memories[c.name]
	if c.bad == 0 && m == nil {
		return
	}
	var silents map[probe.Key]*silent
	for _, cand := range c.ranked {
		if cand.silent = nil; !cand.proposal.reason.silent() {
			continue
		}
		if m == nil {
			m = r.memory(c.name)
		}
		if silents == nil {
			silents = make(map[probe.Key]*silent)
		}
		if cand.superseded {
			cand.silent = &silent{final: true}
		} else {
			cand.silent = m.silentOf(cand.candidate, func() bool { _, inService := r.last.host(c.name, cand.key); return inService })
		}
		silents[cand.key] = cand.silent
	}
	if m != nil {
		m.silents = silents
	}
}

// hold decides which of a service's silent endpoints stay in service.
func (r *Registry) hold(now time.Time, c *candidates, due *soonest) {
	m := r.memories[c.name]
	if m == nil {
		return
	}
	deaf := r.isolated || now.Before(r.deafUntil)
	t, others := tally{}, c.reach()
	for _, cand := range c.ranked {
		if cand.silent != nil && cand.proposal.reason == hanging {
			cand.silent.hang(now, others)
		}
		switch {
		case cand.silent != nil && (cand.silent.contradicted || cand.proposal.reason == hanging) && !cand.outranked:
			if cand.silent.held {
				t.serving++
			}
		case cand.silent != nil && r.isolated:
			cand.silent.hold(now)
		case cand.silent != nil && (deaf || cand.outranked): // unchanged
		case cand.silent != nil && cand.proposal.gossipOnly && now.Before(r.distrustGossipUntil): // unchanged
			due.add(r.distrustGossipUntil)
			if !cand.silent.held {
				t.silents = append(t.silents, &silent{went: cand.silent.went, final: true}) // it counts
			}
		case cand.silent != nil:
			t.silents = append(t.silents, cand.silent)
		case cand.proposal.reason == none && !cand.outranked:
			t.serving++
			if cand.proposal.late {
				t.late++
			}
		}
	}
	if deaf {
		m.guard.suspend()
		if !r.isolated && (len(m.silents) > 0 || m.guard.on) {
			due.add(r.deafUntil)
		}
		return
	}
	m.guard.decide(now, r.opts, t)
	due.add(m.guard.due(now, t))
}
