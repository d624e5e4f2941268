package run

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// phase is how far the stop of a program has come. It never goes back.
type phase int

const (
	serving  phase = iota // or starting
	draining              // it still serves, but Envoys are asked to send no new requests
	ending                // SIGTERM was sent
	killed                // SIGKILL was sent
)

// life is one run of the program, from its start to its end. Only the goroutine of run uses
// it.
type life struct {
	*supervisor
	process

	phase  phase
	health tally
	last   error     // the result of the last check
	passed time.Time // when a check first passed; zero: not yet
	hung   bool      // no check passed in time, which a restart may fix
	fault  error     // why the program was stopped and is not restarted

	starting, patience *time.Timer // bound the time to the first passed check, and the time from SIGTERM to SIGKILL
	drain              func()      // starts to drain; the result goes to drained
	drained            chan error  // capacity one
	unwatch            func()      // stops the checks and the drain
}

// run returns when the program has ended. The end of ctx stops it.
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
			l.publish(false) // before the clean-up, so that Envoys learn of it first
			return ended
		case <-stop:
			stop = nil
			l.advance(draining)
		case sig := <-l.opts.Signals:
			if l.countStop(sig) {
				l.advance(min(phase(l.stops), killed))
			} else {
				l.signal(sig)
			}
		case err := <-results:
			l.observe(watched, err)
		case <-l.starting.C:
			l.startTimedOut()
		case err := <-l.failed():
			l.fail(err)
		case err := <-l.drained:
			l.endDrain(err)
		case <-l.patience.C:
			l.advance(killed)
		}
	}
}

// advance enters a later phase. It does nothing when the phase is reached already.
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
		l.advance(ending) // it is not registered
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

// observe adds the result of a check and publishes a change of health.
func (l *life) observe(ctx context.Context, result error) {
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
	if err := l.update(ctx, l.health.healthy, result); err != nil {
		l.fail(err)
	}
}

func (l *life) startTimedOut() {
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

// restarts reports whether to start the program again.
func (l *life) restarts(ctx context.Context, ended exit) bool {
	byItself := l.phase == serving && ended.code != 0
	return l.opts.RestartOnFailure && (byItself || l.hung) && l.fault == nil && !l.stopping(ctx)
}

func (l *life) healthyFor() time.Duration {
	if l.passed.IsZero() {
		return 0
	}
	return time.Since(l.passed)
}
