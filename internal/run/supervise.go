package run

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// The exit codes when it was not the program that failed, as shells have them.
const (
	exitFailed   = 1
	exitCannot   = 126 // there is a program that cannot be executed
	exitNotFound = 127
)

// process is a program that was started; see program.
type process interface {
	pid() int
	done() <-chan exit // receives once
	signal(os.Signal)  // to the program alone
	kill()             // it and its group
	sweep(patience time.Duration)
}

// supervisor runs one life of the program after the other, at one place in the
// pool. All of it belongs to the goroutine of run.
type supervisor struct {
	// Constant.
	opts  *Options
	start func() (process, error)
	free  func(context.Context) error // an error when another process answers at the address

	place
	stops int // SIGTERM and SIGINT so far
	pause backoff
}

func (s *supervisor) run(ctx context.Context) (code int, err error) {
	if err := s.free(ctx); err != nil {
		return exitFailed, err
	}
	defer func() {
		if err := s.leave(); err != nil {
			s.opts.Logger.Warn("could not leave the pool", "err", err) // the code is the program's
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
		s.bury(p, ended)
		if l.fault != nil {
			return exitFailed, l.fault
		}
		if !l.another(ctx, ended) {
			return ended.code, nil
		}
		if err := s.awaitRestart(ctx, l.ranWell()); err != nil {
			return exitFailed, err
		}
		if s.stopping(ctx) {
			return ended.code, nil
		}
	}
}

// bury tidies up after a program that has ended.
func (s *supervisor) bury(p process, ended exit) {
	s.opts.Logger.Info("program ended", "program", s.opts.Program[0], "pid", p.pid(), "with", ended.text)
	p.sweep(s.opts.StopTimeout)
}

// takenEvery is how often to look whether the address is free again.
const takenEvery = time.Second

// awaitRestart waits for the back-off, and then while another process answers at the
// address, which the health check would take for the program: one that the program
// started and that has left its group, say. It returns early when the supervisor stops.
func (s *supervisor) awaitRestart(ctx context.Context, ranWell time.Duration) error {
	wait := s.pause.after(ranWell)
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

// sleep waits for d, or less when the supervisor is told to stop.
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
			s.hear(sig)
		}
	}
	return nil
}

// hear counts sig when it says to stop, and reports whether it does.
func (s *supervisor) hear(sig os.Signal) bool {
	stop := sig == syscall.SIGTERM || sig == syscall.SIGINT
	if stop {
		s.stops++
	}
	return stop
}

// backoff grows with each failure that follows soon on the one before.
type backoff struct{ next time.Duration }

const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
	wellFor    = time.Minute // so long healthy, and the back-off begins anew
)

func (b *backoff) after(ranWell time.Duration) time.Duration {
	if b.next == 0 || ranWell >= wellFor {
		b.next = firstPause
	}
	wait := b.next
	b.next = min(2*b.next, mostPause)
	return wait
}
