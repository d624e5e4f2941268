// Package edstest serves an EDS server's HTTP API over a fixed fleet, for tests of
// programs that ask one: no pool, no probes, no wait. It is to package eds what
// net/http/httptest is to net/http.
package edstest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/api"
	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/auth"
)

// Server is the API of an EDS server whose members are those that it is given. Its guard of the
// service "web" is active, and it has the gossip key 0123456789abcdef, which it refuses
// to use or remove.
type Server struct {
	*httptest.Server

	before   atomic.Pointer[func(*http.Request)]
	registry *fixed
}

// Start returns a Server of these members, which ends with the test.
func Start(t testing.TB, members ...*fleet.Member) *Server {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	store, err := override.NewStore(db, override.Options{})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	discovery := xds.New(xds.Options{Logger: logger})
	hub := events.New(events.Options{Overrides: store.InForce, Clients: discovery.Connected})
	s := &Server{registry: &fixed{store: store, hub: hub}}
	s.registry.members.Store(&members)
	handler := api.New(api.Options{
		Registry: s.registry, Overrides: store, Discovery: discovery, Clients: discovery.Clients, Standings: discovery.Standings,
		Events: hub.Subscribe, Keys: ring{}, Metrics: http.NotFoundHandler(), Logger: logger,
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := s.before.Load(); before != nil {
			(*before)(r)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	discovery.Update(s.registry.Snapshot())
	run(t, hub)
	if err := s.registry.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return s
}

// run ends the hub, and with it every stream, before the server.
func run(t testing.TB, hub *events.Hub) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { hub.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// Locked returns the API behind the checks of an EDS server's HTTP port: who asks, by a's
// rules, and for what.
func (s *Server) Locked(a *auth.Authenticator) http.Handler {
	return middleware.New(s.Config.Handler, middleware.Options{
		Auth: a, Listen: netip.MustParseAddr("127.0.0.1"), Logger: slog.New(slog.DiscardHandler),
	})
}

// Before sets a function that is called with each request before it is answered, nil
// for none. Any goroutine may call it.
func (s *Server) Before(f func(*http.Request)) {
	if f == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&f)
}

// Members replaces the members. Any goroutine may call it.
func (s *Server) Members(members ...*fleet.Member) { s.registry.members.Store(&members) }

// Settled sets whether the server says that gossip has settled. It does at first. Any
// goroutine may call it.
func (s *Server) Settled(settled bool) { s.registry.unsettled.Store(!settled) }

// fixed is a registry without a goroutine: it decides when it is asked.
type fixed struct {
	store     *override.Store
	members   atomic.Pointer[[]*fleet.Member]
	hub       *events.Hub
	updating  sync.Mutex
	unsettled atomic.Bool
}

func (f *fixed) Snapshot() *registry.Snapshot {
	overrides, revision := f.store.InForce()
	snap, _ := registry.New(registry.Options{}).Decide(registry.Input{
		Now: time.Now(), Settled: !f.unsettled.Load(), Revision: revision, Members: *f.members.Load(), Overrides: overrides,
	})
	return snap
}

func (f *fixed) Wait(context.Context, uint64) error {
	f.updating.Lock()
	defer f.updating.Unlock()
	f.hub.Update(f.Snapshot())
	return nil
}

// Confirm releases the guard of "web", which is active.
func (f *fixed) Confirm(_ context.Context, service string) (bool, error) {
	return service == "web", nil
}

// ring is a keyring of one key that some members lack.
type ring struct{}

func (ring) List(context.Context) (api.Keys, error) { return api.Keys{}, nil }

func (ring) Use(_ context.Context, fingerprint string, _ []string) (api.Keys, error) {
	if strings.HasPrefix("0123456789abcdef", fingerprint) {
		return api.Keys{}, api.KeyRefused("not all have it")
	}
	return api.Keys{}, api.KeyUnknown("no key has it")
}

func (r ring) Remove(ctx context.Context, fingerprint string, _ []string) (api.Keys, error) {
	return r.Use(ctx, fingerprint, nil)
}
