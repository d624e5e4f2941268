package registry

import (
	"net/netip"
	"time"
)

const (
	dampWindow = time.Minute // removals that follow each other within this count up
	dampMost   = time.Minute // the longest wait
)

// place is where a host serves: what comes and goes there is damped together,
// whichever process it is.
type place struct {
	service string
	addr    netip.AddrPort
}

// damping makes a host that comes and goes wait, longer each time.
type damping struct {
	removals int       // that followed each other within the window
	last     time.Time // of them
	back     time.Time // since when it could be served again; zero while it could not
}

// removed notes that the host was taken out against its will.
func (d *damping) removed(now time.Time) {
	if now.Sub(d.last) >= dampWindow {
		d.removals = 0
	}
	d.removals++
	d.last, d.back = now, time.Time{}
}

// wait is how long the host has to be good before it is served: nothing after one
// removal, 1 s after the second, then twice as long each time, a minute at most.
func (d *damping) wait() time.Duration {
	if d.removals < 2 {
		return 0
	}
	return min(time.Second<<min(d.removals-2, 6), dampMost)
}

// until is the moment from which a host that is good now may be served.
func (d *damping) until(now time.Time) time.Time {
	if d.back.IsZero() {
		d.back = now
	}
	return d.back.Add(d.wait())
}

// spent reports whether nothing of d matters any more.
func (d *damping) spent(now time.Time) bool { return now.Sub(d.last) >= dampWindow+dampMost }
