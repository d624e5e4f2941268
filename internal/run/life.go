package run

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// phase is how far a program is on its way to its end. There is no way back.
type phase int

const (
	serving  phase = iota // or about to
	draining              // it serves, and wants no new requests
	ending                // SIGTERM was sent
	killed                // SIGKILL was
)

// life is one run of the program, from its start to its end. All of it belongs to
// the goroutine of run.
type life struct {
	*supervisor
	process

	phase  phase
	health tally
	last   error     // what the last check said
	passed time.Time // when a check first passed; zero: not yet
	hung   bool      // none did in time, which another life may mend
	fault  error     // why the program had to end, and no other life is to follow

	starting, patience *time.Timer // until the first check has passed; since SIGTERM
	drain              func()      // begins it
	drained            chan error  // capacity one
	unwatch            func()      // ends the checks and the drain
}

// run returns once the program has ended, which the end of ctx brings about.
func (l *life) run(ctx context.Context) exit {
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer unwatch()
	results := make(chan error)
	helpers.Go(func() { l.opts.watch(watched, results, l.servers) })
	l.drained, l.unwatch = make(chan error, 1), unwatch
	l.drain = func() { helpers.Go(func() { l.drained <- l.member.Drain(watched) }) }

	l.starting, l.patience = time.NewTimer(l.opts.StartTimeout), time.NewTimer(l.opts.StopTimeout)
	l.patience.Stop() // until it is reset
	defer l.starting.Stop()
	defer l.patience.Stop()
	for stop := ctx.Done(); ; {
		select {
		case ended := <-l.done():
			l.publish(false) // before anything is tidied up
			return ended
		case <-stop:
			stop = nil
			l.advance(draining)
		case sig := <-l.opts.Signals:
			if l.hear(sig) {
				l.advance(min(phase(l.stops), killed))
			} else {
				l.signal(sig)
			}
		case err := <-results:
			l.judge(watched, err)
		case <-l.starting.C:
			l.tooLate()
		case err := <-l.failed():
			l.fail(err)
		case err := <-l.drained:
			l.endDrain(err)
		case <-l.patience.C:
			l.advance(killed)
		}
	}
}

// advance enters a later phase, and does nothing when it has come that far.
func (l *life) advance(to phase) {
	if to <= l.phase {
		return
	}
	l.phase = to
	l.starting.Stop()
	switch {
	case to == draining && l.member != nil:
		l.opts.Logger.Info("draining", "service", l.opts.Service.Name)
		l.drain()
	case to == draining:
		l.advance(ending) // nobody was told of it
	case to == ending:
		l.unwatch()
		l.opts.Logger.Info("stopping the program", "pid", l.pid())
		l.signal(syscall.SIGTERM)
		l.patience.Reset(l.opts.StopTimeout)
	case to == killed:
		l.unwatch()
		l.opts.Logger.Warn("program is still running: killing it", "pid", l.pid())
		l.kill()
	}
}

func (l *life) endDrain(err error) {
	switch {
	case l.phase != draining:
	case err != nil:
		l.opts.Logger.Warn("drain incomplete: stopping anyway", "err", err)
	default:
		l.opts.Logger.Info("drained", "service", l.opts.Service.Name)
	}
	l.advance(ending)
}

// judge publishes what the checks amount to.
func (l *life) judge(ctx context.Context, result error) {
	if l.phase != serving {
		return
	}
	l.last = result
	if !l.health.observe(result) {
		return
	}
	if l.passed.IsZero() {
		l.passed = time.Now()
		l.starting.Stop()
	}
	if err := l.tell(ctx, l.health.healthy, result); err != nil {
		l.fail(err)
	}
}

func (l *life) tooLate() {
	err := fmt.Errorf("the health check has not passed within %s of the program's start: %w", l.opts.StartTimeout, l.last)
	if l.opts.RestartOnFailure && l.member != nil {
		l.opts.Logger.Warn("program did not become healthy in time: restarting it", "err", err)
		l.hung = true
	} else {
		l.fault = err
	}
	l.advance(ending)
}

func (l *life) fail(err error) {
	l.fault = err
	l.advance(ending)
}

// another reports whether the program is to be started again.
func (l *life) another(ctx context.Context, ended exit) bool {
	byItself := l.phase == serving && ended.code != 0
	return l.opts.RestartOnFailure && (byItself || l.hung) && l.fault == nil && !l.stopping(ctx)
}

func (l *life) ranWell() time.Duration {
	if l.passed.IsZero() {
		return 0
	}
	return time.Since(l.passed)
}
