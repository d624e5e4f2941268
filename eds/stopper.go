package eds

import (
	"context"
	"errors"
	"slices"
)

// stopper stops what was started, in reverse order, and joins the errors. It is
// used from one goroutine.
type stopper struct{ stops []func() error }

func (s *stopper) add(stop func() error) { s.stops = append(s.stops, stop) }

// goRun starts run; its stop cancels the context and waits for run to return.
func (s *stopper) goRun(run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	s.add(func() error {
		cancel()
		<-done
		return nil
	})
}

// goServe is goRun for something that may fail: the error goes to failed, which
// must have room for it, and not to the stop.
func (s *stopper) goServe(failed chan<- error, serve func(context.Context) error) {
	s.goRun(func(ctx context.Context) {
		if err := serve(ctx); err != nil {
			failed <- err
		}
	})
}

func (s *stopper) stop() error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}
