package probe

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	beatEvery = 100 * time.Millisecond
	// A beat later than this says that this process was paused: stopped, starved
	// of processor time, or its machine suspended.
	beatLate = time.Second
)

// pulse notices the pauses of its own process. A judge that slept judges nobody:
// what was asked before the pause ended proves nothing.
type pulse struct {
	start time.Time
	last  atomic.Int64 // the last beat, in nanoseconds since start
	woke  atomic.Int64 // the end of the last pause, likewise; 0 when there was none
}

func newPulse() *pulse { return &pulse{start: time.Now()} }

// run beats until ctx ends. onWake is called after each pause.
func (p *pulse) run(ctx context.Context, onWake func()) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Since(p.start)
			if now-time.Duration(p.last.Swap(int64(now))) >= beatLate {
				p.woke.Store(int64(now))
				onWake()
			}
		}
	}
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
