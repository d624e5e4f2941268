package hello_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/hello"
	"github.com/rollcall-fleet/rollcall/upstream"
)

const patience = 20 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// running is a hello server under test.
type running struct {
	addr netip.AddrPort
	id   uuid.UUID
	stop context.CancelFunc
	end  <-chan error
}

func start(t *testing.T, opts hello.Options) running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ready, end := make(chan running, 1), make(chan error, 1)
	opts.Ready = func(addr netip.AddrPort, id uuid.UUID) { ready <- running{addr: addr, id: id} }
	go func() { end <- hello.Run(ctx, opts) }()
	select {
	case r := <-ready:
		r.stop, r.end = stop, end
		return r
	case err := <-end:
		t.Fatalf("Run: %v", err)
	case <-time.After(patience):
		t.Fatal("the server is not ready")
	}
	panic("not reached")
}

// finish stops the server and wants a clean end.
func (r running) finish(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.end:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(patience):
		t.Error("Run does not return")
	}
}

func (r running) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestItAnswersWithItsID(t *testing.T) {
	t.Parallel()
	r := start(t, hello.Options{Service: upstream.Service{Name: "myservice"}, Listen: loopback})
	defer r.finish(t)
	for path, want := range map[string]string{"/": r.id.String(), "/any/path": r.id.String(), "/healthz": "ok"} {
		resp, body := r.get(t, path)
		if resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q, want 200 %q", path, resp.StatusCode, body, want)
		}
		if ct := resp.Header.Get("Content-Type"); ct != "text/plain" {
			t.Errorf("%s: content type %q", path, ct)
		}
		if id := resp.Header.Get(fleet.IDHeader); id != r.id.String() {
			t.Errorf("%s: id header %q, want %s", path, id, r.id)
		}
	}
	if n := len(r.id.String()); n != 36 {
		t.Errorf("the id has %d characters, want 36", n)
	}
}

func TestWhileDrainingItServesButIsNotHealthy(t *testing.T) {
	t.Parallel()
	server, err := gossip.Start(gossip.Options{ // it never says that an Envoy has let go
		Member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now()}, Bind: loopback,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	r := start(t, hello.Options{
		Service: upstream.Service{Name: "myservice"}, Listen: loopback, DrainTimeout: time.Second,
		Seeds: []string{server.Self().Gossip.String()},
	})
	defer r.finish(t)
	select {
	case <-server.Joined():
	case <-time.After(patience):
		t.Fatal("it does not join")
	}
	time.Sleep(200 * time.Millisecond) // until it has seen the other one, too
	r.stop()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		resp, body := r.get(t, "/healthz")
		if resp.StatusCode == 503 && body == "draining" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("/healthz: %d %q, want 503 draining", resp.StatusCode, body)
		}
	}
	if resp, body := r.get(t, "/"); resp.StatusCode != 200 || body != r.id.String() {
		t.Errorf("/: %d %q, want 200 and the id", resp.StatusCode, body)
	}
}

func TestItLogsWhereItServes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := start(t, hello.Options{
		Service: upstream.Service{Name: "myservice"}, Listen: loopback, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	r.finish(t)
	want := "msg=serving address=" + r.addr.String() + " id=" + r.id.String()
	if !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, log.String())
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", loopback.String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tc := range map[string]struct {
		service, listen, want string
	}{
		"an address that is taken": {"myservice", taken.Addr().String(), taken.Addr().String() + ": another process uses port "},
		"every interface":          {"myservice", "0.0.0.0:0", "set option Advertise"},
		"no service":               {"", "127.0.0.1:0", "service name is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			err := hello.Run(t.Context(), hello.Options{
				Service: upstream.Service{Name: tc.service}, Listen: netip.MustParseAddrPort(tc.listen),
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Run = %v, want an error with %q", err, tc.want)
			}
		})
	}
}
