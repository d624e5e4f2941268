package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// ListenAndServe listens on srv.Addr, registers the listener and serves it as
// [Registration.Serve] does.
func ListenAndServe(ctx context.Context, srv *http.Server, svc Service, opts ...Option) error {
	addr := srv.Addr
	if addr == "" {
		addr = ":http"
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	r, err := Register(ctx, ln, svc, opts...)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return r.Serve(ctx, srv)
}

// Serve serves the registered listener until ctx ends, with srv.Handler wrapped
// in [Registration.Handler]. Then it drains: it continues to serve until no Envoy
// sends requests any more and, if there are Envoys, until clients have closed their
// connections, a second at most; closes the listener, waits within the shutdown timeout
// until the requests in flight are finished and upgraded connections, such as
// websockets, are closed, leaves the pool, and returns nil. Functions of
// srv.RegisterOnShutdown are called when the listener is closed, and may ask
// the other side of an upgraded connection to end it. Serve sets srv's ConnState and
// ConnContext, and calls those that were set. It closes the listener and the
// registration in any case, and returns an error when srv stops by itself, when the
// registration has failed, or when something had to be cut off.
func (r *Registration) Serve(ctx context.Context, srv *http.Server) error {
	if r.ln == nil {
		return errors.Join(errors.New("registration has no listener to serve: another process serves its endpoint"), r.Close())
	}
	next := srv.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	srv.Handler = r.Handler(next)
	open := followConns(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(r.ln) }()
	select {
	case err := <-served:
		return errors.Join(err, r.Close())
	case err := <-r.failed:
		_ = r.Close() // it fails with the same error
		return errors.Join(err, r.shutdown(context.WithoutCancel(ctx), srv, open), notClosed(<-served))
	case <-ctx.Done():
	}
	r.opts.log.Info("draining", "service", r.Member().Service)
	return errors.Join(r.stop(context.WithoutCancel(ctx), srv, open), notClosed(<-served))
}

// stop takes the steps of a graceful stop in order. A step that fails does not skip the next.
func (r *Registration) stop(ctx context.Context, srv *http.Server, open *conns) error {
	clients, drained := r.drain(ctx)
	switch {
	case errors.Is(drained, ErrNotDrained):
		r.opts.log.Warn("drain incomplete: stopping anyway", "err", drained)
		drained = nil
	case errors.Is(drained, ErrClosed): // by the caller, who skips the drain
		drained = nil
	case drained != nil:
		// For example between two pools. Probes still see that it drains.
		r.opts.log.Warn("could not announce draining: serving until the drain timeout", "err", drained, "timeout", r.opts.drainTimeout)
		pause(ctx, r.opts.drainTimeout)
	default:
		r.opts.log.Info("drained", "service", r.Member().Service)
	}
	if clients > 0 {
		open.wait(ctx)
	}
	shut := r.shutdown(ctx, srv, open)
	return errors.Join(drained, shut, r.Close())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// notClosed drops the error that Serve returns after Shutdown.
func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// shutdown waits for requests in flight and upgraded connections, and closes those that remain
// after the shutdown timeout.
func (r *Registration) shutdown(ctx context.Context, srv *http.Server, open *conns) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	upgraded := open.upgraded.wait(ctx)
	late := errors.Is(err, context.DeadlineExceeded)
	if upgraded == 0 && !late {
		return err
	}
	requests := 0
	if late {
		requests, err = open.count(), nil
	}
	open.upgraded.close()
	return errors.Join(err, srv.Close(), fmt.Errorf("still open %s after the drain, and cut off: %s, %s: %w", r.opts.shutdownTimeout,
		counted(requests, "connection with requests", "connections with requests"), counted(upgraded, "upgraded connection", "upgraded connections"), context.DeadlineExceeded))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
