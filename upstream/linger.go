package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/latest"
)

// linger bounds how long a drained server waits for its clients to close their connections.
// Each worker thread of an Envoy closes its connections to a removed endpoint a moment after
// the main thread has acknowledged the removal. Until then it may send requests, and a
// request is lost when the server closes its connection first.
const linger = time.Second

// conns are a server's connections, except those that carry only health probes: EDS servers
// keep theirs open.
type conns struct {
	upgraded *upgraded

	mu   sync.Mutex
	open map[net.Conn]bool

	closed latest.Signal
}

type connKey struct{}

// followConns tracks srv's connections.
func followConns(srv *http.Server) *conns {
	c := &conns{upgraded: newUpgraded(), open: make(map[net.Conn]bool), closed: latest.NewSignal()}
	connState, ctxOf := srv.ConnState, srv.ConnContext
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			c.set(conn, true)
		case http.StateHijacked:
			c.upgraded.add(conn)
			c.set(conn, false)
		case http.StateClosed:
			c.set(conn, false)
		default:
		}
		if connState != nil {
			connState(conn, state)
		}
	}
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		ctx = context.WithValue(ctx, connKey{}, func(probe bool) { c.set(conn, !probe) })
		if ctxOf != nil {
			ctx = ctxOf(ctx, conn)
		}
		return ctx
	}
	return c
}

func (c *conns) set(conn net.Conn, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if open {
		c.open[conn] = true
		return
	}
	delete(c.open, conn)
	c.closed.Set()
}

// noteRequest records whether the latest request of a connection is a health probe.
func noteRequest(req *http.Request, probe bool) {
	if note, ok := req.Context().Value(connKey{}).(func(bool)); ok {
		note(probe)
	}
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// wait returns when no connection is open, or after linger.
func (c *conns) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	for c.count() > 0 {
		select {
		case <-c.closed:
		case <-ctx.Done():
			return
		}
	}
}
