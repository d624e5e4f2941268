package gossip

import (
	"context"
	"errors"
	"time"
)

// ErrWedged says that memberlist has deadlocked. The pool is of no further use,
// although it may still look alive to the others; the process should end.
var ErrWedged = errors.New("memberlist has deadlocked: this process hears nothing of the pool any more and must be started again")

// watchdog notices that check does not return. It counts its own ticks rather
// than the time, since a process that was paused gets one tick for all of the
// pause.
type watchdog struct {
	check func() // returns at once unless something is wrong
	every time.Duration
	ticks int // that check may take
}

const (
	watchEvery = time.Second
	watchTicks = 10
)

// run returns true once check hangs, false when ctx is done.
func (w watchdog) run(ctx context.Context) bool {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		done := make(chan struct{})
		go func() { // stays for ever if check does
			defer close(done)
			w.check()
		}()
		for waited := 0; done != nil; waited++ {
			select {
			case <-ctx.Done():
				return false
			case <-done:
				done = nil
			case <-tick.C:
				if waited == w.ticks {
					return true
				}
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// watch starts the watchdog.
func (p *Pool) watch(w watchdog) {
	ctx, rest := context.WithCancel(context.Background())
	p.rest = rest
	p.guard.Go(func() {
		if w.run(ctx) {
			close(p.wedged)
			p.failed <- ErrWedged
		}
	})
}

// Failed receives ErrWedged, once, some ten seconds after memberlist has
// deadlocked.
func (p *Pool) Failed() <-chan error { return p.failed }

// unlessWedged returns what f does, or ErrWedged when memberlist hangs; f is left
// to itself then.
func (p *Pool) unlessWedged(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-p.wedged:
		return ErrWedged
	}
}
