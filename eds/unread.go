package eds

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// unread logs HTTP connections that ended without a request that net/http could read.
// It answers those with 400 itself, before any handler sees them, and logs nothing: an
// Envoy that polls would be left without endpoints, and no log line would say why.
type unread struct {
	logger *slog.Logger

	mu     sync.Mutex
	open   map[net.Conn]struct{} // that sent something which no handler has seen
	logged time.Time
}

// unreadEvery is how often it logs: any client can send such requests.
const unreadEvery = time.Minute

// watch has u see the connections and requests of web.
func (u *unread) watch(web *http.Server) {
	next := web.Handler
	u.open = make(map[net.Conn]struct{})
	web.ConnState = u.state
	web.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, u, c) }
	web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(u).(net.Conn); ok {
			u.read(c)
		}
		next.ServeHTTP(w, r)
	})
}

// read notes that a handler has a request of c.
func (u *unread) read(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, c)
}

// state is net/http's hook: a connection is active once bytes of a request were read, be
// it a good one or not.
func (u *unread) state(c net.Conn, s http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s == http.StateActive {
		u.open[c] = struct{}{}
		return
	}
	_, bad := u.open[c]
	delete(u.open, c)
	if now := time.Now(); bad && s == http.StateClosed && now.Sub(u.logged) >= unreadEvery {
		u.logged = now
		u.logger.Warn("HTTP request could not be read: answered with 400, or the client went away",
			"remote", c.RemoteAddr().String(),
			"hint", `Envoy sends the name of its cluster for the EDS servers as Host: give that cluster a host name, not one such as "outbound|8080||web"`)
	}
}
