package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/eds/api"
	"github.com/rollcall-fleet/rollcall/eds/events"
	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/eds/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rollcall-fleet/rollcall/cmd/rollcall.(*unblocked).run")) // as long as the process
}

// The ids of the members in a rig.
const (
	firstID  = "1f0c0000-2222-4333-8444-555555555555"
	secondID = "1f0cffff-2222-4333-8444-555555555555"
	otherID  = "77ab0000-2222-4333-8444-555555555555"
)

// merged is a registry without a goroutine: it decides when it is asked.
type merged struct {
	store   *override.Store
	members []*fleet.Member
	hub     *events.Hub
	telling sync.Mutex
	settled func() bool // nil: it has
}

func (m *merged) Snapshot() *registry.Snapshot {
	overrides, revision := m.store.InForce()
	snap, _ := registry.New(registry.Options{}).Decide(registry.Input{
		Now: time.Now(), Settled: m.settled == nil || m.settled(), Revision: revision, Members: m.members, Overrides: overrides,
	})
	return snap
}

func (m *merged) Wait(context.Context, uint64) error {
	m.telling.Lock()
	defer m.telling.Unlock()
	m.hub.Update(m.Snapshot())
	return nil
}

// Confirm finds the guard of "web" holding.
func (m *merged) Confirm(_ context.Context, service string) (bool, error) {
	return service == "web", nil
}

// ring is a keyring of one key, 0123456789abcdef, that not all have.
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

// rig is the API on a real store, with two hosts of "web" and one of "other".
type rig struct {
	*testing.T
	store  *override.Store
	server *httptest.Server
	before func(*http.Request) // called with each request, when set

	registry *merged
}

func newRig(t *testing.T) *rig {
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
	reg := &merged{store: store, hub: hub, members: []*fleet.Member{
		member(firstID, "web", 8081), member(secondID, "web", 8082), member(otherID, "other", 8083),
	}}
	r := &rig{T: t, store: store, registry: reg}
	handler := api.New(api.Options{
		Registry: reg, Overrides: store, Discovery: discovery, Clients: discovery.Clients, Standings: discovery.Standings,
		Events: hub.Subscribe, Keys: ring{}, Metrics: http.NotFoundHandler(), Logger: logger,
	})
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.before != nil {
			r.before(req)
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(r.server.Close)
	discovery.Update(reg.Snapshot())
	r.runHub(hub)
	if err := reg.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROLLCALL_SERVER", r.server.URL)
	t.Setenv("USER", "ann")
	return r
}

// runHub ends the hub, and with it every stream, before the server.
func (r *rig) runHub(hub *events.Hub) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { hub.Run(ctx) })
	r.Cleanup(func() {
		stop()
		running.Wait()
	})
}

func member(id, service string, port uint16) *fleet.Member {
	started := time.Now().Add(-time.Hour)
	return &fleet.Member{
		ID: uuid.MustParse(id), Role: fleet.RoleUpstream, Started: started, Version: fleet.FormatVersion, Service: service,
		Endpoint: fleet.Endpoint{
			Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: 10, Health: fleet.Healthy,
			Locality: fleet.Locality{Zone: "z1"}, Tags: map[string]string{"version": "2"},
		},
		Gossip: netip.MustParseAddrPort("127.0.0.1:7946"), Liveness: fleet.Alive, Since: started,
	}
}

// result is how a run of rollcall ended.
type result struct {
	out  string
	code int
	err  error
}

// rollcall runs the command with these arguments.
func rollcall(ctx context.Context, args ...string) result {
	var out bytes.Buffer
	err := rollcallTo(ctx, &out, args...)
	if err == nil {
		return result{out: out.String()}
	}
	return result{out.String(), exitCode(err), err}
}

func rollcallTo(ctx context.Context, out io.Writer, args ...string) error {
	root := newRoot()
	root.SetOut(out)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// must is rollcall for runs that have to end well.
func (r *rig) must(args ...string) string {
	r.Helper()
	got := rollcall(r.Context(), args...)
	if got.err != nil {
		r.Fatalf("rollcall %q: %v", args, got.err)
	}
	return got.out
}
