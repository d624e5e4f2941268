package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// patience is how long to wait for what takes a second at most.
const patience = 20 * time.Second

// TestMain fails when any test leaves a goroutine behind. A probe of memberlist's
// that was under way at the shutdown may go on for some seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = max(code, 1)
	}
	os.Exit(code)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// register registers ln for the length of the test.
func register(t *testing.T, ln net.Listener, svc upstream.Service, opts ...upstream.Option) *upstream.Registration {
	t.Helper()
	reg, err := upstream.Register(t.Context(), ln, svc, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return reg
}

// observer is another member of the pool, which upstreams join through.
type observer struct{ *gossip.Pool }

func observe(t *testing.T, opts gossip.Options) observer {
	t.Helper()
	opts.Member = fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now()}
	if !opts.Bind.IsValid() {
		opts.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	}
	pool, err := gossip.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return observer{pool}
}

// receipt tells reg, as an EDS server does, that no Envoy sends it requests, or who
// still does.
func (o observer) receipt(t *testing.T, reg *upstream.Registration, state fleet.ReceiptState, behind string) {
	t.Helper()
	m := o.await(t, reg.ID(), "draining", draining)
	if err := o.SendReceipt(&m, fleet.Receipt{Revision: m.Revision, State: state, Clients: 1, Behind: behind}); err != nil {
		t.Fatal(err)
	}
}

func (o observer) seed() upstream.Option { return upstream.WithSeeds(o.Self().Gossip.String()) }

// meet returns the member that reg announces once it and the observer have seen
// each other.
func (o observer) meet(t *testing.T, reg *upstream.Registration) fleet.Member {
	t.Helper()
	m := o.await(t, reg.ID(), "alive", alive)
	receive(t, reg.Joined(), "the observer")
	return m
}

// awaitService returns a live member that serves service once there is one.
func (o observer) awaitService(t *testing.T, service string) fleet.Member {
	t.Helper()
	timeout := time.After(patience)
	for {
		for _, m := range o.Members() {
			if alive(*m) && m.Service == service {
				return *m
			}
		}
		select {
		case <-o.Changed():
		case <-timeout:
			t.Fatalf("nobody serves %s", service)
		}
	}
}

// await returns the member id once it is as wanted.
func (o observer) await(t *testing.T, id uuid.UUID, what string, wanted func(fleet.Member) bool) fleet.Member {
	t.Helper()
	timeout := time.After(patience)
	for {
		last := "not seen"
		for _, m := range o.Members() {
			if m.ID != id {
				continue
			}
			if wanted(*m) {
				return *m
			}
			last = string(m.Liveness) + ", " + string(m.Endpoint.Health)
		}
		select {
		case <-o.Changed():
		case <-timeout:
			t.Fatalf("upstream is not %s but %s", what, last)
		}
	}
}

func alive(m fleet.Member) bool    { return m.Liveness == fleet.Alive }
func left(m fleet.Member) bool     { return m.Liveness == fleet.Left }
func draining(m fleet.Member) bool { return alive(m) && m.Endpoint.Health == fleet.Draining }

type answer struct {
	status int
	body   string
	header http.Header
}

// get makes a request on a connection of its own.
func get(t *testing.T, addr net.Addr, path string) answer {
	t.Helper()
	a, err := tryGet(t.Context(), addr, path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryGet(ctx context.Context, addr net.Addr, path string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header}, err
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s is still missing", what)
		panic("not reached")
	}
}
