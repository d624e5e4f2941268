package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// slowloris is many connections to one port that begin to say something, go on by a
// byte now and then, and never end.
type slowloris struct {
	addr  string
	began string
	drip  string // "" says nothing more
	count int
}

// slowDrip is how often a slow connection says something.
const slowDrip = 500 * time.Millisecond

// attack opens the connections. What it returns waits until the server has cut off
// all of them.
func (s slowloris) attack(t *testing.T) (cutOff func()) {
	t.Helper()
	ctx := within(t, patience)
	var wg sync.WaitGroup
	errs := make(chan error, s.count)
	for range s.count {
		conn := must2(net.Dial("tcp", s.addr))(t)
		t.Cleanup(func() { _ = conn.Close() })
		wg.Go(func() { errs <- s.hold(ctx, conn) })
	}
	return func() {
		t.Helper()
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Fatalf("%s, %q: %v", s.addr, s.began, err)
			}
		}
	}
}

// hold returns nil once the other side has closed conn, if it has waited for more
// before: one that refused what it heard would show nothing.
func (s slowloris) hold(ctx context.Context, conn net.Conn) error {
	since := time.Now()
	if err := s.held(ctx, conn); err != nil {
		return err
	}
	if took := time.Since(since); took < 2*slowDrip {
		return fmt.Errorf("the connection was closed after %s, without waiting for more", took)
	}
	return nil
}

func (s slowloris) held(ctx context.Context, conn net.Conn) error {
	buf := make([]byte, 1024)
	for say := s.began; ctx.Err() == nil; say = s.drip {
		if _, err := conn.Write([]byte(say)); err != nil {
			return nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(slowDrip))
		for {
			_, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil
			}
		}
	}
	return errors.New("the connection is still open")
}

// The preface of HTTP/2, after which a client must say its settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// clientHello is how a TLS handshake begins: 512 bytes are to come.
const clientHello = "\x16\x03\x01\x02\x00\x01\x00"

func TestSlowConnectionsAreCutOffAndHoldNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)

	h.areCutOff(one,
		slowloris{h.Addresses.HTTP, "GET /members HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", "a", 200},
		slowloris{h.Addresses.XDS, preface, "", 200},
		slowloris{h.Addresses.Gossip, h.pushPull(), "", 100}, // memberlist refuses more than 128 at a time
	)
}

// areCutOff fails the test unless the server cuts off all of the attacks and serves
// everybody else meanwhile: the requests to one, the API, and an upstream that comes.
func (h *harness) areCutOff(one *stage.Upstream, attacks ...slowloris) {
	h.t.Helper()
	load := h.load()
	var cutOff []func()
	for _, s := range attacks {
		cutOff = append(cutOff, s.attack(h.t))
	}
	h.request(http.StatusOK, http.MethodGet, "/members", "")
	two := h.upstream()
	h.serves(one, two)
	for _, done := range cutOff {
		done()
	}
	h.noneFailed(load)
}

// pushPull begins what a member sends that joins: the pool's label, the kind of the
// message, and a map of three fields that does not come.
func (h *harness) pushPull() string {
	return fmt.Sprintf("\xf4%c%s\x06\x83", len(h.Pool), h.Pool)
}

func TestSlowHandshakesAreCutOffAndHoldNobodyUp(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	one := l.upstream()
	l.serves(one)

	l.areCutOff(one,
		slowloris{l.Addresses.HTTP, clientHello, "\x00", 200},
		slowloris{l.Addresses.XDS, clientHello, "\x00", 200},
	)
}

// The same after the handshake, for which it takes a certificate.
func TestWhoStopsBehindTheHandshakeIsCutOff(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	one := l.upstream()
	l.serves(one)
	cert := must2(tls.LoadX509KeyPair(l.at("envoy.pem"), l.at("envoy-key.pem")))(t)
	conn := must2(tls.Dial("tcp", l.Addresses.XDS, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, // it attacks whoever is there
	}))(t)
	defer conn.Close()
	if err := (slowloris{began: preface}).hold(within(t, patience), conn); err != nil {
		t.Error(err)
	}
	l.serves(one)
}
