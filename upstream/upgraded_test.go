package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/upstream"
)

// upgrades takes the connection over and sends back what it is sent, until either side
// closes it or the server asks for the end by closing asked.
func upgrades(asked <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		if asked != nil {
			go func() {
				<-asked
				conn.Close()
			}()
		}
		io.Copy(conn, rw)
	})
}

// upgraded is a client's side of such a connection.
func upgraded(t *testing.T, conn net.Conn) *keptOpen {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	k := &keptOpen{t: t, conn: conn, r: bufio.NewReader(conn)}
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no upgrade: %v %v", resp, err)
	}
	return k
}

func (k *keptOpen) echoes() error {
	k.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(k.conn, "x"); err != nil {
		return err
	}
	_, err := k.r.ReadByte()
	return err
}

func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serving serves srv until stop is called.
func serving(t *testing.T, ln net.Listener, srv *http.Server, timeout time.Duration) (stop func(), served chan error) {
	t.Helper()
	reg := register(t, ln, shop, upstream.WithDrainTimeout(0), upstream.WithShutdownTimeout(timeout))
	ctx, stop := context.WithCancel(t.Context())
	served = make(chan error, 1)
	go func() { served <- reg.Serve(ctx, srv) }()
	return stop, served
}

// overTLS makes ln one for TLS, and dial a client of it.
func overTLS(t *testing.T, ln net.Listener) (net.Listener, func(net.Conn) net.Conn) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	config := s.TLS.Clone()
	config.NextProtos = nil
	return tls.NewListener(ln, config), func(conn net.Conn) net.Conn {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
}

func TestUpgradedConnectionsAreWaitedFor(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, client := listen(t), func(conn net.Conn) net.Conn { return conn }
			if secure {
				ln, client = overTLS(t, ln)
			}
			stop, served := serving(t, ln, &http.Server{Handler: upgrades(nil)}, time.Hour)
			first, second := upgraded(t, client(dial(t, ln))), upgraded(t, client(dial(t, ln)))
			first.conn.Close()
			stop()
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if err := second.echoes(); err != nil {
					t.Fatalf("the connection is cut off: %v", err)
				}
			}
			select {
			case err := <-served:
				t.Fatalf("Serve = %v before the connection is closed", err)
			default:
			}
			second.conn.Close()
			if err := receive(t, served, "Serve's end"); err != nil {
				t.Errorf("Serve = %v, want nil", err)
			}
		})
	}
}

func TestUpgradedConnectionsAreCutOffAfterTheShutdownTimeout(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	stop, served := serving(t, ln, &http.Server{Handler: upgrades(nil)}, 100*time.Millisecond)
	first, second := upgraded(t, dial(t, ln)), upgraded(t, dial(t, ln))
	stop()
	err := receive(t, served, "Serve's end")
	wantError(t, err, "still open 100ms after the drain, and cut off: 0 connections with requests, 2 upgraded connections")
	for _, k := range []*keptOpen{first, second} {
		if k.echoes() == nil {
			t.Error("the connection is still open")
		}
	}
}

func TestAServerCanEndItsUpgradedConnectionsWhenItShutsDown(t *testing.T) {
	t.Parallel()
	ln, asked := listen(t), make(chan struct{})
	srv := &http.Server{Handler: upgrades(asked)}
	srv.RegisterOnShutdown(func() { close(asked) })
	stop, served := serving(t, ln, srv, time.Hour)
	upgraded(t, dial(t, ln))
	stop()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// unknownListener's connections do not say what they wrap.
type unknownListener struct{ net.Listener }

func (l unknownListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return struct{ net.Conn }{conn}, err
}

func TestUpgradedConnectionsWhoseEndCannotBeSeenAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	ln := unknownListener{listen(t)}
	stop, served := serving(t, ln, &http.Server{Handler: upgrades(nil)}, time.Hour)
	upgraded(t, dial(t, ln))
	stop()
	if err := receive(t, served, "Serve's end"); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}
