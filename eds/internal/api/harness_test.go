package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const payload = `{"hosts":[{"ip_address":"127.0.0.1","port":18080,"tags":{"az":"us-central1-a","canary":false,"load_balancing_weight":50}}]}`

var (
	start    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	memberID = uuid.MustParse("11111111-2222-4333-8444-555555555555")
)

// merged is a registry without a goroutine: it merges when it is asked.
type merged struct {
	store   *override.Store
	members []*fleet.Member
	settled bool
	guarded string             // a service that its guard holds
	stale   *registry.Snapshot // when set, all that anybody sees
}

func (m *merged) Snapshot() *registry.Snapshot {
	if m.stale != nil {
		return m.stale
	}
	overrides, revision := m.store.InForce()
	snap, _ := registry.New(registry.Options{}).Decide(registry.Input{
		Now: start, Settled: m.settled, Revision: revision, Members: m.members, Overrides: overrides,
	})
	return snap
}

func (m *merged) Wait(ctx context.Context, revision uint64) error {
	if m.Snapshot().Revision >= revision {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (m *merged) Confirm(_ context.Context, service string) (bool, error) {
	return service == m.guarded, nil
}

// rig is the API on a real store, a real discovery server and two members: an
// upstream of "myservice", and one whose metadata was refused.
type rig struct {
	testing.TB
	opts      Options
	registry  *merged
	store     *override.Store
	hub       *events.Hub // does not run
	discovery *xds.Server // has what the registry had at the start
	url       string
}

func newRig(t testing.TB) *rig {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	store, err := override.NewStore(db, override.Options{})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	reg := &merged{store: store, settled: true, members: []*fleet.Member{upstream(), quarantined()}}
	discovery := xds.New(xds.Options{Logger: logger})
	discovery.Update(reg.Snapshot())
	hub := events.New(events.Options{Overrides: store.InForce, Clients: discovery.Connected})
	r := &rig{hub: hub, TB: t, registry: reg, store: store, discovery: discovery, opts: Options{
		Registry: reg, Overrides: store, Discovery: discovery,
		Standings: discovery.Standings, Events: hub.Subscribe, Keys: &ring{}, Refused: func(string) {},
		Clients: func() []xds.Client { return append(discovery.Clients(), stubborn()) },
		Metrics: promhttp.HandlerFor(prometheus.NewRegistry(), promhttp.HandlerOpts{}), Logger: logger,
	}}
	server := httptest.NewServer(New(r.opts))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func upstream() *fleet.Member {
	return &fleet.Member{
		ID: memberID, Role: fleet.RoleUpstream, Started: start, Version: fleet.FormatVersion, Service: "myservice",
		Endpoint: fleet.Endpoint{
			Addr: netip.MustParseAddrPort("127.0.0.1:8081"), Weight: 10, Health: fleet.Healthy, Canary: true,
			Locality: fleet.Locality{Region: "r1", Zone: "z1"}, Tags: map[string]string{"version": "v2"},
		},
		Gossip: netip.MustParseAddrPort("127.0.0.1:7946"), Liveness: fleet.Alive, Since: start,
	}
}

func quarantined() *fleet.Member {
	return &fleet.Member{
		ID: uuid.MustParse("99999999-2222-4333-8444-555555555555"), Gossip: netip.MustParseAddrPort("127.0.0.1:7999"),
		Liveness: fleet.Alive, Since: start, Quarantine: "metadata is not a JSON object",
	}
}

// stubborn is a client that refused what it was sent.
func stubborn() xds.Client {
	return xds.Client{
		Node: "envoy-1", Transport: xds.TransportDeltaADS, Peer: "127.0.0.1:40000", Connected: start, Seen: start,
		Services: []xds.ClientService{{Name: "myservice", Sent: "b", Acked: "a"}},
		NACK:     &xds.NACK{Version: "b", Detail: "weight is 0", At: start},
	}
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends body as JSON.
func (r *rig) do(method, path, body string) reply {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return r.send(req)
}

func (r *rig) send(req *http.Request) reply {
	r.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// must is do for requests that have to answer with status.
func (r *rig) must(status int, method, path, body string) reply {
	r.Helper()
	got := r.do(method, path, body)
	if got.status != status {
		r.Fatalf("%s %s: status %d, want %d: %s", method, path, got.status, status, got.body)
	}
	return got
}
