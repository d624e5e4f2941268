package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
)

// memory is what is remembered of one service.
type memory struct {
	guard  guard
	mutes  map[probe.Key]*mute
	damped damped
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
			m.mutes, m.guard = nil, guard{}
		}
		m.damped.forget(now)
		if len(m.mutes) == 0 && len(m.damped) == 0 && !m.guard.on {
			delete(r.memories, name)
		}
	}
}

// muteOf is what is remembered of a host that is mute now. To be held by the guard, it must
// have been in service when it fell silent. One that is alive by a fresh answer is served
// even if it was taken out before the answer came, and that removal does not count.
func (m *memory) muteOf(cand *candidate, inService func() bool) *mute {
	was := m.mutes[cand.key]
	if cand.wish.reason != contradicted {
		if was == nil {
			return newMute(inService())
		}
		was.contradicted = was.contradicted && cand.wish.reason == hanging
		return was
	}
	if was == nil || !was.contradicted {
		if !inService() {
			m.damped.takeBack(cand.key.Addr)
		}
		return &mute{held: true, contradicted: true}
	}
	return was
}

// findMute notes who of a service is mute, and since when.
func (r *Registry) findMute(c *candidates) {
	m := r.memories[c.name]
	if c.bad == 0 && m == nil {
		return
	}
	var mutes map[probe.Key]*mute
	for _, cand := range c.ranked {
		if cand.mute = nil; !cand.wish.reason.mute() {
			continue
		}
		if m == nil {
			m = r.memory(c.name)
		}
		if mutes == nil {
			mutes = make(map[probe.Key]*mute)
		}
		if cand.superseded {
			cand.mute = &mute{final: true}
		} else {
			cand.mute = m.muteOf(cand.candidate, func() bool { _, inService := r.last.host(c.name, cand.key); return inService })
		}
		mutes[cand.key] = cand.mute
	}
	if m != nil {
		m.mutes = mutes
	}
}

// hold decides which of a service's mute hosts stay in service.
func (r *Registry) hold(now time.Time, c *candidates, due *soonest) {
	m := r.memories[c.name]
	if m == nil {
		return
	}
	deaf := r.isolated || now.Before(r.deafUntil)
	t, others := tally{}, c.reach()
	for _, cand := range c.ranked {
		if cand.mute != nil && cand.wish.reason == hanging {
			cand.mute.hang(now, others)
		}
		switch {
		case cand.mute != nil && (cand.mute.contradicted || cand.wish.reason == hanging) && !cand.outranked:
			if cand.mute.held {
				t.serving++
			}
		case cand.mute != nil && r.isolated:
			cand.mute.hold(now)
		case cand.mute != nil && (deaf || cand.outranked): // it stays as it is
		case cand.mute != nil && cand.wish.hearsay && now.Before(r.hearsayUntil): // it stays as it is
			due.add(r.hearsayUntil)
			if !cand.mute.held {
				t.mutes = append(t.mutes, &mute{went: cand.mute.went, final: true}) // it counts
			}
		case cand.mute != nil:
			t.mutes = append(t.mutes, cand.mute)
		case cand.wish.reason == none && !cand.outranked:
			t.serving++
			if cand.wish.late {
				t.late++
			}
		}
	}
	if deaf {
		m.guard.suspend()
		if !r.isolated && (len(m.mutes) > 0 || m.guard.on) {
			due.add(r.deafUntil)
		}
		return
	}
	m.guard.decide(now, r.opts, t)
	due.add(m.guard.due(now, t))
}
