package upstream_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// keptOpen is a client's connection that stays open between requests.
type keptOpen struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func keepOpen(t *testing.T, addr net.Addr) *keptOpen {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &keptOpen{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (k *keptOpen) ask(path string) error {
	k.t.Helper()
	_ = k.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(k.conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// drained starts a server, lets clients connect, and drains it.
func drained(t *testing.T, connect func(net.Addr)) (ln *heldListener, served chan error) {
	t.Helper()
	o := observe(t, gossip.Options{})
	ln = &heldListener{Listener: listen(t), closing: make(chan struct{}), release: make(chan struct{})}
	close(ln.release)
	reg := register(t, ln, shop, o.seed(), upstream.WithDrainTimeout(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	served = make(chan error, 1)
	go func() { served <- reg.Serve(ctx, &http.Server{Handler: says("own")}) }()
	o.meet(t, reg)
	connect(ln.Addr())
	stop()
	o.await(t, reg.ID(), "draining", draining)
	o.receipt(t, reg, fleet.ReceiptGone, "")
	return ln, served
}

// An Envoy's worker may send a request after its main thread has said that the
// endpoint is gone: it is answered, and the server ends once the connection does.
func TestAClientMayUseItsConnectionUntilItClosesIt(t *testing.T) {
	t.Parallel()
	var k *keptOpen
	ln, served := drained(t, func(addr net.Addr) {
		k = keepOpen(t, addr)
		if err := k.ask("/"); err != nil {
			t.Fatal(err)
		}
	})
	time.Sleep(200 * time.Millisecond)
	if ln.isClosing() {
		t.Fatal("the listener closes while a client may still send a request")
	}
	if err := k.ask("/"); err != nil {
		t.Fatalf("a late request: %v", err)
	}
	_ = k.conn.Close()
	receive(t, ln.closing, "the listener's end")
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestAClientThatKeepsItsConnectionIsNotWaitedForWithoutEnd(t *testing.T) {
	t.Parallel()
	_, served := drained(t, func(addr net.Addr) {
		if err := keepOpen(t, addr).ask("/"); err != nil {
			t.Fatal(err)
		}
	})
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// EDS servers keep a connection for their probes, and it holds up nobody.
func TestConnectionsOfProbesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	var k *keptOpen
	began := time.Now()
	ln, served := drained(t, func(addr net.Addr) {
		k = keepOpen(t, addr)
		if err := k.ask("/healthz"); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
	})
	receive(t, ln.closing, "the listener's end")
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the listener closed after %s", took)
	}
	receive(t, served, "Serve's end")
}
