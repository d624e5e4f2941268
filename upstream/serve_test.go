package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func TestHealthzSaysWhatIsAnnounced(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	var fault error
	reg := register(t, ln, shop, upstream.WithDrainTimeout(0), upstream.WithHealth(func(context.Context) error { return fault }))
	serve(t, ln, reg.Healthz())
	for _, step := range []struct {
		what   string
		do     func() error
		status int
		body   string
	}{
		{"registered", func() error { return nil }, 200, "ok"},
		{"at fault", func() error { fault = errors.New("no database"); return nil }, 503, "no database"},
		{"mended", func() error { fault = nil; return nil }, 200, "ok"},
		{"unhealthy", func() error { return reg.SetHealthy(false) }, 503, "unhealthy"},
		{"draining", func() error { return reg.Drain(t.Context()) }, 503, "draining"},
		{"undrained", reg.Undrain, 503, "unhealthy"},
		{"healthy", func() error { return reg.SetHealthy(true) }, 200, "ok"},
		{"closed", reg.Close, 503, "draining"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		a := get(t, ln.Addr(), "/")
		if a.status != step.status || a.body != step.body {
			t.Errorf("%s: %d %q, want %d %q", step.what, a.status, a.body, step.status, step.body)
		}
		if id := a.header.Get(fleet.IDHeader); id != reg.ID().String() {
			t.Errorf("%s: id %q, want %s", step.what, id, reg.ID())
		}
	}
}

func TestHandlerAnswersTheHealthPathOnly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opt  upstream.Option
		path string
		want string
	}{
		"the health path":          {upstream.WithHealthPath("/ready%20now?deep=1"), "/ready%20now?deep=1", "ok"},
		"its other spelling":       {upstream.WithHealthPath("/ready?deep=1"), "/read%79", "ok"},
		"another path":             {upstream.WithHealthPath("/ready"), "/healthz", "own"},
		"the default":              {upstream.WithProbe(fleet.ProbeHTTP), "/healthz", "ok"},
		"a server probed over TCP": {upstream.WithProbe(fleet.ProbeTCP), "/healthz", "own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln := listen(t)
			reg := register(t, ln, shop, tc.opt)
			serve(t, ln, reg.Handler(says("own")))
			a := get(t, ln.Addr(), tc.path)
			if a.status != 200 || a.body != tc.want {
				t.Errorf("%s: %d %q, want 200 %q", tc.path, a.status, a.body, tc.want)
			}
			if id := a.header.Get(fleet.IDHeader); id != reg.ID().String() {
				t.Errorf("%s: id %q, want %s", tc.path, id, reg.ID())
			}
		})
	}
}

func TestADrainingServerServes(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	serve(t, ln, reg.Handler(says("own")))
	o.meet(t, reg)

	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- reg.Drain(ctx) }()
	o.await(t, reg.ID(), "draining", draining)
	if a := get(t, ln.Addr(), "/healthz"); a.status != 503 || a.body != "draining" {
		t.Errorf("/healthz: %d %q, want 503 draining", a.status, a.body)
	}
	if a := get(t, ln.Addr(), "/"); a.status != 200 || a.body != "own" {
		t.Errorf("/: %d %q, want 200 own", a.status, a.body)
	}
	cancel()
	receive(t, drained, "Drain's end")
}

// The listener is watched rather than the clock: what must come before the
// server stops accepting is awaited while it cannot stop.
func TestTheServerStopsAcceptingOnlyOnceNoEnvoySendsRequests(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := &heldListener{Listener: listen(t), closing: make(chan struct{}), release: make(chan struct{})}
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: says("own")}) }()
	o.meet(t, reg)

	var requests sync.WaitGroup
	requests.Go(func() {
		for ; !ln.isClosing(); time.Sleep(10 * time.Millisecond) {
			if _, err := tryGet(t.Context(), ln.Addr(), "/"); err != nil && !ln.isClosing() {
				t.Errorf("a request on the way out: %v", err)
			}
		}
	})
	stop()
	o.await(t, reg.ID(), "draining", draining)
	time.Sleep(150 * time.Millisecond)
	if ln.isClosing() {
		t.Error("the listener closes before the EDS server has answered")
	}
	o.receipt(t, reg, fleet.ReceiptGone, "")
	receive(t, ln.closing, "the listener's end")
	close(ln.release)
	o.await(t, reg.ID(), "left", left)
	requests.Wait()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if _, err := tryGet(t.Context(), ln.Addr(), "/"); err == nil {
		t.Error("the server accepts after Serve has returned")
	}
}

func TestRequestsInFlightFinish(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(0))
	begun, release := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: holds(begun, release)}) }()
	o.meet(t, reg)
	answered := make(chan answer, 1)
	go func() {
		a, err := tryGet(context.Background(), ln.Addr(), "/")
		if err != nil {
			a.body = err.Error()
		}
		answered <- a
	}()
	receive(t, begun, "the request")

	stop()
	o.await(t, reg.ID(), "draining", draining)
	select {
	case err := <-served:
		t.Fatalf("Serve returned %v with a request in flight", err)
	case <-time.After(300 * time.Millisecond):
	}
	close(release)
	o.await(t, reg.ID(), "left", left)
	if a := receive(t, answered, "the answer"); a.status != 200 || a.body != "done" {
		t.Errorf("the request in flight got %d %q", a.status, a.body)
	}
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestRequestsThatDoNotFinishAreCutOff(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	reg := register(t, ln, shop, upstream.WithDrainTimeout(0), upstream.WithShutdownTimeout(50*time.Millisecond))
	begun, never := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: holds(begun, never)}) }()
	answered := make(chan error, 1)
	go func() {
		_, err := tryGet(context.Background(), ln.Addr(), "/")
		answered <- err
	}()
	receive(t, begun, "the request")
	stop()
	err := receive(t, served, "Serve's end")
	wantError(t, err, "still open 50ms after the drain, and cut off: 1 connection with requests, 0 upgraded connections")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve = %v, want context.DeadlineExceeded in it", err)
	}
	if err := receive(t, answered, "the answer"); err == nil {
		t.Error("the request that was cut off got an answer")
	}
}

func TestServeEndsWhenTheServerStopsByItself(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	ln := listen(t)
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	served := make(chan error, 1)
	go func() { served <- reg.Serve(context.Background(), &http.Server{Handler: says("own")}) }()
	o.meet(t, reg)
	ln.Close()
	if err := receive(t, served, "Serve's end"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want net.ErrClosed", err)
	}
	o.await(t, reg.ID(), "left", left)
}

func TestCloseSparesServeItsDrainWait(t *testing.T) {
	t.Parallel()
	reg := register(t, listen(t), shop, upstream.WithDrainTimeout(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: says("own")}) }()
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestListenAndServe(t *testing.T) {
	t.Parallel()
	o := observe(t, gossip.Options{})
	addr := freeAddr(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- upstream.ListenAndServe(ctx, &http.Server{Addr: addr.String(), Handler: says("own")}, shop, o.seed())
	}()
	m := o.awaitService(t, "shop")
	if m.Endpoint.Addr.String() != addr.String() {
		t.Errorf("the pool sees %s, want %s", m.Endpoint.Addr, addr)
	}
	if a := get(t, addr, "/"); a.body != "own" || a.header.Get(fleet.IDHeader) != m.ID.String() {
		t.Errorf("/: %d %q %v", a.status, a.body, a.header)
	}
	stop()
	if err := receive(t, served, "ListenAndServe's end"); err != nil {
		t.Errorf("ListenAndServe = %v, want nil", err)
	}
	o.await(t, m.ID, "left", left)
}

func TestListenAndServeNamesAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	addr := listen(t).Addr().String()
	err := upstream.ListenAndServe(t.Context(), &http.Server{Addr: addr}, shop)
	wantError(t, err, addr)
}

func TestListenAndServeGivesUpWhatItCannotRegister(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	err := upstream.ListenAndServe(t.Context(), &http.Server{Addr: addr.String()}, upstream.Service{})
	wantError(t, err, "service name is empty")
	if conn, err := net.Dial("tcp", addr.String()); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

// serve serves h on ln for the length of the test.
func serve(t *testing.T, ln net.Listener, h http.Handler) {
	t.Helper()
	srv := &http.Server{Handler: h}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		receive(t, served, "the server's end")
	})
}

func says(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) })
}

// holds answers "done" after release is closed, having told begun of the request.
func holds(begun chan<- struct{}, release <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		begun <- struct{}{}
		select {
		case <-release:
			w.Write([]byte("done"))
		case <-req.Context().Done():
		}
	})
}

// heldListener reports the first Close, and does not close before release.
type heldListener struct {
	net.Listener
	closing chan struct{} // closed by the first Close
	release chan struct{}
}

func (l *heldListener) Close() error {
	if !l.isClosing() {
		close(l.closing)
	}
	<-l.release
	return l.Listener.Close()
}

func (l *heldListener) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// freeAddr is an address on which nobody listens at the moment.
func freeAddr(t *testing.T) net.Addr {
	t.Helper()
	ln := listen(t)
	ln.Close()
	return ln.Addr()
}
