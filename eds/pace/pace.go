// Package pace says how long changes that follow each other closely wait for each
// other, so that they are acted upon together and none of them late. It reads no
// clock.
package pace

import "time"

// How long a change waits after one that was acted upon: Together, and Busy once
// changes keep coming.
const (
	Together = 10 * time.Millisecond
	Busy     = 20 * time.Millisecond
)

// Pace is of one goroutine that acts upon changes. Its zero value has not acted yet.
type Pace struct {
	last   time.Time // when it has acted
	pause  time.Duration
	waited bool // some change has had to since
}

// Wait returns how long a change that there is now has to wait; 0 if it does not.
func (p *Pace) Wait(now time.Time) time.Duration {
	wait := max(p.last.Add(p.pause).Sub(now), 0)
	p.waited = p.waited || wait > 0
	return wait
}

// Acted notes that all changes there were have been acted upon by now.
func (p *Pace) Acted(now time.Time) {
	if p.last, p.pause = now, Together; p.waited {
		p.pause = Busy
	}
	p.waited = false
}
