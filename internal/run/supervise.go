package run

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// The exit codes when the program did not run to its end, as shells have them.
const (
	exitFailed   = 1
	exitCannot   = 126 // the program exists but cannot be executed
	exitNotFound = 127
)

// process is a started program; see program.
type process interface {
	pid() int
	done() <-chan exit // receives once
	signal(os.Signal)  // to the program, not its group
	kill()             // the program and its group
	sweep(patience time.Duration)
}

// supervisor starts the program, again and again if it restarts, under one registration. Only
// the goroutine of run uses it.
type supervisor struct {
	// Constant.
	opts  *Options
	start func() (process, error)
	free  func(context.Context) error // an error when another process answers at the address

	membership
	stops int // SIGTERM and SIGINT so far
	pause backoff
}

func (s *supervisor) run(ctx context.Context) (code int, err error) {
	if err := s.free(ctx); err != nil {
		return exitFailed, err
	}
	defer func() {
		if err := s.leave(); err != nil {
			s.opts.Logger.Warn("could not leave the pool", "err", err) // no error, so that the exit code stays the program's
		}
	}()
	for {
		p, err := s.start()
		if err != nil {
			return codeOf(err), err
		}
		s.opts.Logger.Info("program started", "program", s.opts.Program[0], "pid", p.pid())
		l := &life{supervisor: s, process: p, last: errors.New("the first health check has not finished yet")}
		ended := l.run(ctx)
		s.cleanUp(p, ended)
		if l.fault != nil {
			return exitFailed, l.fault
		}
		if !l.restarts(ctx, ended) {
			return ended.code, nil
		}
		if err := s.awaitRestart(ctx, l.healthyFor()); err != nil {
			return exitFailed, err
		}
		if s.stopping(ctx) {
			return ended.code, nil
		}
	}
}

// cleanUp logs the end of a program and stops what it left running.
func (s *supervisor) cleanUp(p process, ended exit) {
	s.opts.Logger.Info("program ended", "program", s.opts.Program[0], "pid", p.pid(), "with", ended.text)
	p.sweep(s.opts.StopTimeout)
}

// takenEvery is the interval at which to check whether the address is free again.
const takenEvery = time.Second

// awaitRestart waits for the back-off, and then until no other process uses the address: for
// example one that the program started and that has left its group. The health check would
// mistake it for the program. awaitRestart returns early when the supervisor stops.
func (s *supervisor) awaitRestart(ctx context.Context, healthyFor time.Duration) error {
	wait := s.pause.after(healthyFor)
	s.opts.Logger.Warn("restarting the program", "in", wait)
	for warned := false; ; wait = takenEvery {
		if err := s.sleep(ctx, wait); err != nil || s.stopping(ctx) {
			return err
		}
		err := s.free(ctx)
		if err == nil {
			return nil
		}
		if !warned {
			s.opts.Logger.Warn("address is still in use: waiting to restart the program", "err", err)
			warned = true
		}
	}
}

func (s *supervisor) stopping(ctx context.Context) bool { return s.stops > 0 || ctx.Err() != nil }

// sleep waits for d, or until the supervisor has to stop.
func (s *supervisor) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !s.stopping(ctx) {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
		case err := <-s.failed():
			return err
		case sig := <-s.opts.Signals:
			s.countStop(sig)
		}
	}
	return nil
}

// countStop reports whether sig is a request to stop, and counts it.
func (s *supervisor) countStop(sig os.Signal) bool {
	stop := sig == syscall.SIGTERM || sig == syscall.SIGINT
	if stop {
		s.stops++
	}
	return stop
}

// backoff doubles with each failure, and is reset once the program was healthy for long.
type backoff struct{ next time.Duration }

const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
	wellFor    = time.Minute // the time healthy after which the back-off is reset
)

func (b *backoff) after(healthyFor time.Duration) time.Duration {
	if b.next == 0 || healthyFor >= wellFor {
		b.next = firstPause
	}
	wait := b.next
	b.next = min(2*b.next, mostPause)
	return wait
}
