package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/latest"
)

// linger is how long a drained server waits at most for its clients to close their
// connections. An Envoy closes those to an endpoint that is gone, on each of its
// worker threads once that has heard of it, which is after its main thread has
// acknowledged it: a request may come meanwhile, and one that is on its way when its
// connection is closed here is lost.
const linger = time.Second

// conns are a server's connections, but for those that carry health probes alone:
// EDS servers keep theirs.
type conns struct {
	upgraded *upgraded

	mu   sync.Mutex
	open map[net.Conn]bool

	closed latest.Signal
}

type connKey struct{}

// followConns keeps an eye on srv's connections.
func followConns(srv *http.Server) *conns {
	c := &conns{upgraded: newUpgraded(), open: make(map[net.Conn]bool), closed: latest.NewSignal()}
	told, ctxOf := srv.ConnState, srv.ConnContext
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
		if told != nil {
			told(conn, state)
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

// noteRequest says what the latest request of a connection is.
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

// wait returns once there is none, or after linger.
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
