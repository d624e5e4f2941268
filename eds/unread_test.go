package eds

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestRequestThatNetHTTPRefusesIsLogged(t *testing.T) {
	const line = "HTTP request could not be read"
	for _, tt := range []struct {
		name, request string
		logged        int
	}{
		{"a cluster that is no host name", "POST /v3/discovery:endpoints HTTP/1.1\r\nHost: outbound|8080||a b\r\n\r\n", 1},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 1},
		{"a good request", "GET / HTTP/1.1\r\nHost: xds_cluster\r\nConnection: close\r\n\r\n", 0},
		{"two good requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0},
		{"nothing", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log syncBuffer
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			u := &unread{logger: slog.New(slog.NewTextHandler(&log, nil))}
			u.watch(server.Config)
			server.Start()
			for range 3 { // a line a minute is enough
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(conn, tt.request); err != nil {
					t.Fatal(err)
				}
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
			}
			server.Close() // waits for the connections
			if got := strings.Count(log.String(), line); got != tt.logged {
				t.Errorf("logged %d times, want %d: %s", got, tt.logged, log.String())
			}
			if len(u.open) > 0 {
				t.Errorf("%d connections are kept", len(u.open))
			}
		})
	}
}
