package registry

import (
	"net/netip"
	"slices"
	"time"
)

const (
	dampWindow = time.Minute // removals that follow each other within this count up
	dampFirst  = time.Second // the wait after the second of them
	dampMost   = time.Minute // the longest wait
)

// damped is what came and went lately, by address: what flaps there is damped
// together, whichever process it is.
type damped map[netip.AddrPort]*damping

// damping makes an endpoint that changes often wait, longer each time.
type damping struct {
	removals int       // that followed each other
	last     time.Time // of them
	before   time.Time // the one before that
	back     time.Time // since when it could be served again; zero while it could not
	waited   bool      // it is in service again
}

// removed notes that the endpoint at addr was removed without having asked.
func (ds *damped) removed(now time.Time, addr netip.AddrPort) {
	if *ds == nil {
		*ds = make(damped)
	}
	d := (*ds)[addr]
	if d == nil || d.spent(now) {
		d = &damping{}
		(*ds)[addr] = d
	}
	*d = damping{removals: d.removals + 1, last: now, before: d.last}
}

// takeBack forgets the last removal of the endpoint at addr, which is in service again: it
// was a mistake.
func (ds damped) takeBack(addr netip.AddrPort) {
	if d := ds[addr]; d != nil && d.removals > 1 {
		*d = damping{removals: d.removals - 1, last: d.before, waited: true}
	} else {
		delete(ds, addr)
	}
}

// bad notes that the endpoint at addr cannot be served.
func (ds damped) bad(addr netip.AddrPort) {
	if d := ds[addr]; d != nil {
		d.back = time.Time{}
	}
}

// spare lets endpoints of c serve at once that would have to wait, those first whose wait is
// shortest: at most the given share of those that could serve waits, and never all of them.
// What is held since nothing is heard of it may not be able to serve, nor may what an
// operator has served whatever happens to it.
func (ds damped) spare(now time.Time, c *candidates, share float64) {
	if len(ds) == 0 {
		return
	}
	able := 0
	var waiting []*damping
	for _, cand := range c.ranked {
		switch {
		case cand.outranked:
		case cand.proposal.reason == contradicted && cand.silent.isHeld():
			able++
		case cand.proposal.reason == none:
			able++
			if d := ds[cand.key.Addr]; d != nil && !cand.forced && !cand.unasked() && d.waits(now) {
				waiting = append(waiting, d)
			}
		}
	}
	spared := len(waiting) - min(int(share*float64(able)), able-1)
	if len(waiting) == 0 || spared <= 0 {
		return
	}
	slices.SortStableFunc(waiting, func(a, b *damping) int { return a.until().Compare(b.until()) })
	for _, d := range waiting[:spared] {
		d.waited = true
	}
}

// waits reports whether the endpoint, which could be served, has not waited enough.
func (d *damping) waits(now time.Time) bool {
	if d.back.IsZero() {
		d.back = now
	}
	d.waited = d.waited || !now.Before(d.until())
	return !d.waited
}

// apply serves an endpoint that could be served, or makes it wait. How long it is good
// without a break is what counts.
func (ds damped) apply(now time.Time, addr netip.AddrPort, due *soonest) outcome {
	d := ds[addr]
	if d == nil {
		return outcome{served: true}
	}
	if !d.waits(now) {
		return outcome{served: true}
	}
	due.add(d.until())
	return outcome{since: d.back, until: d.until()}
}

// forget drops what no longer matters.
func (ds damped) forget(now time.Time) {
	for addr, d := range ds {
		if d.spent(now) {
			delete(ds, addr)
		}
	}
}

// wait is how long the endpoint has to be good before it is served: nothing after one
// removal, 1 s after the second, then twice as long each time, a minute at most.
func (d *damping) wait() time.Duration {
	if d.removals < 2 {
		return 0
	}
	return min(dampFirst<<min(d.removals-2, 6), dampMost)
}

// until is when an endpoint that is good now has waited enough.
func (d *damping) until() time.Time {
	if forgiven := d.forgiven(); forgiven.Before(d.back.Add(d.wait())) {
		return forgiven
	}
	return d.back.Add(d.wait())
}

// forgiven is when the removals are forgotten. A wait that was imposed is no time
// in which the endpoint did well.
func (d *damping) forgiven() time.Time { return d.last.Add(dampWindow + d.wait()) }

func (d *damping) spent(now time.Time) bool { return !now.Before(d.forgiven()) }
