package probe

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	beatEvery = 100 * time.Millisecond
	// A beat later than this says that this process was paused: stopped, or
	// starved of processor time.
	beatLate = time.Second
)

// pulse notices the pauses of its own process. After a pause there is no verdict:
// what was asked before the pause ended proves nothing.
type pulse struct {
	start time.Time
	last  atomic.Int64 // the last beat, in nanoseconds since start
	woke  atomic.Int64 // the end of the last pause, likewise; 0 when there was none
}

func newPulse() *pulse { return &pulse{start: time.Now()} }

// run beats until ctx ends. onWake is called after each pause.
func (p *pulse) run(ctx context.Context, onWake func()) {
	p.last.Store(int64(time.Since(p.start)))
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p.beat() {
				onWake()
			}
		}
	}
}

// beat reports whether it follows a pause.
func (p *pulse) beat() bool {
	now := time.Since(p.start)
	late := now-time.Duration(p.last.Load()) >= beatLate
	if late {
		p.woke.Store(int64(now)) // before last, or asleepSince could miss both
	}
	p.last.Store(int64(now))
	return late
}

// asleepSince reports whether the process was paused at some time since t, or is
// only now waking up.
func (p *pulse) asleepSince(t time.Time) bool {
	now := time.Since(p.start)
	if now-time.Duration(p.last.Load()) >= beatLate {
		return true
	}
	woke := p.woke.Load()
	return woke > 0 && time.Duration(woke) >= t.Sub(p.start)
}

// wokeAt returns the end of the last pause; zero when there was none.
func (p *pulse) wokeAt() time.Time {
	woke := p.woke.Load()
	if woke == 0 {
		return time.Time{}
	}
	return p.start.Add(time.Duration(woke))
}
