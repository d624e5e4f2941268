package eds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// How long stopping one part may take. Leaving the pool takes leaveStop of it at most.
const (
	stopStep  = 5 * time.Second
	stopLeast = 100 * time.Millisecond
)

// stopper stops what was started, in reverse order, and joins the errors. A part
// that does not stop in time is left behind, with an error that names it. It is
// used from one goroutine.
type stopper struct {
	logger *slog.Logger  // nil: none
	total  time.Duration // for all parts
	parts  []part
}

type part struct {
	name string
	most time.Duration
	stop func() error
}

// add takes what stops a part, within stopStep.
func (s *stopper) add(name string, stop func() error) { s.addSlow(name, stopStep, stop) }

// addSlow is add for a part that may take longer.
func (s *stopper) addSlow(name string, most time.Duration, stop func() error) {
	s.parts = append(s.parts, part{name, most, stop})
}

// goRun starts run; its stop cancels the context and waits for run to return.
func (s *stopper) goRun(name string, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	s.addSlow(name, stopStep+time.Second, func() error { // what serves has a bound of its own
		cancel()
		<-done
		return nil
	})
}

// goServe is goRun for something that may fail: the error is sent to failed, which
// must have room for it, and not to the stop.
func (s *stopper) goServe(name string, failed chan<- error, serve func(context.Context) error) {
	s.goRun(name, func(ctx context.Context) {
		if err := serve(ctx); err != nil {
			failed <- err
		}
	})
}

// stop stops everything, within total.
func (s *stopper) stop() error {
	deadline := time.Now().Add(s.total)
	var errs []error
	for _, p := range slices.Backward(s.parts) {
		errs = append(errs, s.stopPart(p, max(min(p.most, time.Until(deadline)), stopLeast)))
	}
	s.parts = nil
	return errors.Join(errs...)
}

// stopPart waits for so long for a part to stop.
func (s *stopper) stopPart(p part, most time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- p.stop() }() // stays until the process ends if the part hangs
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		if s.logger != nil {
			s.logger.Warn("part of the server did not stop in time; continuing without it", "part", p.name, "after", most)
		}
		return fmt.Errorf("%s did not stop within %s", p.name, most.Round(time.Millisecond))
	}
}
