// Package eds runs an EDS server: a member of the gossip pool that turns the other members
// and the operators' overrides into endpoints, and serves them to every Envoy that asks.
//
// Import it to run an EDS server inside of a program of your own; `rollcall eds` is [Run]
// with flags. The parts are in internal packages; here they are made, started and stopped.
package eds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/gossip"
)

// How long each part may take to stop.
const (
	httpStop  = 3 * time.Second
	leaveStop = 10 * time.Second
)

// Run serves until ctx ends, then stops everything in reverse order, within 25 s. It returns an error when listen addresses or the data directory cannot be
// had, one that names them all, and when a part fails.
func Run(ctx context.Context, opts Options) (err error) {
	s := newServer(opts)
	if err := s.opts.Check(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stops.stop()) }()
	for _, step := range []func() error{s.open, s.join, s.connect, s.start} {
		if err := step(); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		s.opts.Logger.Info("stopping")
		return nil
	case err := <-s.failed:
		return err
	case err := <-s.members.Failed():
		return err
	}
}

// serveHTTP serves until ctx ends and lets requests in flight finish.
func serveHTTP(ctx context.Context, web *http.Server, lis net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStop)
		defer cancel()
		err := web.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) {
			err = web.Close()
		}
		stopped <- err
	})
	defer stop()
	serve := web.Serve
	if web.TLSConfig != nil {
		serve = func(lis net.Listener) error { return web.ServeTLS(lis, "", "") }
	}
	if err := serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return <-stopped
}

func leave(p *gossip.Pool) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveStop)
	defer cancel()
	return errors.Join(p.Leave(ctx), p.Close())
}
