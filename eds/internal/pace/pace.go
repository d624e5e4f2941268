// Package pace says how long changes that follow each other closely wait for each
// other, so that they are acted upon together and none of them late. It reads no
// clock.
package pace

import "time"

// How long a change waits after one that was acted upon: Together, and Busy once
// changes keep coming. An urgent one waits for Urgent, and so may Ahead in a row; each
// that waits its time gives one of these back.
const (
	Together = 10 * time.Millisecond
	Busy     = 20 * time.Millisecond
	Urgent   = 2 * time.Millisecond
	Ahead    = 4
)

// Pace is of one goroutine that acts upon changes. Its zero value has not acted yet.
type Pace struct {
	last   time.Time // when it has acted
	pause  time.Duration
	waited bool // some change has had to since
	ahead  int  // how many urgent ones did not wait their time
}

// Wait returns how long a change that there is now has to wait; 0 if it does not.
func (p *Pace) Wait(now time.Time, urgent bool) time.Duration {
	pause := p.pause
	if urgent && p.ahead < Ahead {
		pause = min(pause, Urgent)
	}
	wait := max(p.last.Add(pause).Sub(now), 0)
	p.waited = p.waited || wait > 0
	return wait
}

// Acted notes that all changes there were have been acted upon by now.
func (p *Pace) Acted(now time.Time) {
	if now.Sub(p.last) < p.pause {
		p.ahead++
	} else {
		p.ahead = max(p.ahead-1, 0)
	}
	if p.last, p.pause = now, Together; p.waited {
		p.pause = Busy
	}
	p.waited = false
}
