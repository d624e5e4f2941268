package xds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// tally counts refusals.
type tally struct {
	mu sync.Mutex
	by map[string]int
}

func (c *tally) add(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[string]int)
	}
	c.by[reason]++
}

func (c *tally) of(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[reason]
}

func wantEnd(t *testing.T, c subscriber, code codes.Code, words string) {
	t.Helper()
	if r, err := c.recv(); status.Code(err) != code || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, %v, want %s with %q", r.hosts, err, code, words)
	}
}

func TestClientWithoutReadPermissionIsRefused(t *testing.T) {
	allows := func(id, service string) bool { return id == "envoy-1" && service == "mine" }
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			var refused tally
			s := start(t, Options{Allows: allows, Refused: refused.add})
			s.Update(settled(service("mine", "10.0.0.1:80"), service("theirs", "10.0.0.2:80")))
			mine := open(t, s.conn)
			mine.subscribe("mine")
			next(t, mine, "1", "mine: 10.0.0.1:80")
			for _, names := range [][]string{{"theirs"}, {"mine", "theirs"}, {"*"}} {
				c := open(t, s.conn)
				c.subscribe(names...)
				wantEnd(t, c, codes.PermissionDenied, "may not read service")
			}
			if got := refused.of(refusedRead); got != 3 {
				t.Errorf("%d refusals were counted, want 3", got)
			}
		})
	}
}

func TestPollWithoutReadPermissionIsForbidden(t *testing.T) {
	s := New(Options{Allows: func(id, service string) bool { return id == "envoy-1" && service == "mine" }})
	s.Update(settled(service("mine", "10.0.0.1:80"), service("theirs", "10.0.0.2:80")))
	for body, want := range map[string]int{
		`{"node":{"id":"envoy-1"},"resource_names":["mine"]}`:          200,
		`{"node":{"id":"envoy-1"},"resource_names":["theirs"]}`:        403,
		`{"node":{"id":"envoy-1"},"resource_names":["mine","theirs"]}`: 403,
		`{"node":{"id":"envoy-2"},"resource_names":["mine"]}`:          403,
		`{"resource_names":["mine"]}`:                                  403,
	} {
		w := httptest.NewRecorder()
		s.ServeRESTv3(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d: %s", body, w.Code, want, w.Body)
		}
	}
	w := httptest.NewRecorder()
	s.ServeRegistration(w, httptest.NewRequest(http.MethodGet, "/v1/registration/mine", nil), "mine")
	if w.Code != 403 {
		t.Errorf("registration: status %d, want 403", w.Code)
	}
}

func TestSubscriptionTo100000NamesIsRefusedAndKeepsNoMemory(t *testing.T) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i)
	}
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			var refused tally
			s := start(t, Options{Refused: refused.add})
			s.Update(settled(service("mine", "10.0.0.1:80")))
			c := open(t, s.conn)
			c.subscribe(names...)
			wantEnd(t, c, codes.InvalidArgument, "at most 10000 are allowed")
			for deadline := time.Now().Add(patience); len(s.Clients()) > 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			s.cache.mu.Lock()
			entries := len(s.cache.entries)
			s.cache.mu.Unlock()
			if entries > 1 || len(s.Clients()) > 0 || refused.of(refusedNames) != 1 {
				t.Errorf("%d names and %d clients are kept, %d refusals counted", entries, len(s.Clients()), refused.of(refusedNames))
			}
		})
	}
}

func TestMaxNamesIsConfigurable(t *testing.T) {
	s := start(t, Options{MaxNames: 2})
	s.Update(settled())
	c := openADS(t, s.conn)
	c.subscribe("a", "b", "c")
	wantEnd(t, c, codes.InvalidArgument, "at most 2 are allowed")
}

func TestRepeatedNACKsAreNotAnswered(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("mine", "10.0.0.1:80")))
		c.subscribe("mine")
		first := next(t, c, "1", "mine: 10.0.0.1:80")
		for range 1000 {
			c.nack(first, "no")
		}
		other := openDeltaADS(t, s.conn)
		other.subscribe("mine")
		next(t, other, "1", "mine: 10.0.0.1:80") // others are served meanwhile
		s.Update(settled(service("mine", "10.0.0.2:80")))
		next(t, c, "2", "mine: 10.0.0.2:80") // the nonce counts: nothing came in between
	})
}

func TestConnectionWithoutAHandshakeIsCutOff(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := abrupt(Options{})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	t.Cleanup(func() { // after the parallel parts
		stop()
		must(t, <-served)
	})
	for name, sent := range map[string]string{"nothing": "", "half a preface": "PRI * HTTP", "another protocol": "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", lis.Addr().String())
			must(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte(sent))
			must(t, err)
			must(t, conn.SetReadDeadline(time.Now().Add(4*handshakeTime)))
			if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("still open after %s", 4*handshakeTime)
			}
		})
	}
}

// A changed policy applies to later requests: a stream continues to receive the services
// that it has, and may add only those that the new policy allows.
func TestStreamKeepsItsServicesWhenThePolicyChanges(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			var policy atomic.Pointer[string] // the one service that may be read
			may := func(service string) { policy.Store(&service) }
			may("mine")
			var refused tally
			s := start(t, Options{Allows: func(_, service string) bool { return service == *policy.Load() }, Refused: refused.add})
			s.Update(settled(service("mine", "10.0.0.1:80"), service("theirs", "10.0.0.2:80"), service("others", "10.0.0.3:80")))
			c := open(t, s.conn)
			c.subscribe("mine")
			c.ack(next(t, c, "1", "mine: 10.0.0.1:80"))

			may("theirs")
			s.Update(settled(service("mine", "10.0.0.9:80"), service("theirs", "10.0.0.2:80"), service("others", "10.0.0.3:80")))
			c.ack(next(t, c, "2", "mine: 10.0.0.9:80"))
			third := []string{"mine: 10.0.0.9:80", "theirs: 10.0.0.2:80"}
			if _, delta := c.(*deltaClient); delta { // delta requests and responses have only what is new
				c.subscribe("theirs")
				c.ack(next(t, c, "3", third[1:]...))
				c.subscribe("others")
			} else {
				c.subscribe("mine", "theirs")
				c.ack(next(t, c, "3", third...))
				c.subscribe("mine", "theirs", "others")
			}
			wantEnd(t, c, codes.PermissionDenied, `may not read service "others"`)

			again := open(t, s.conn)
			again.subscribe("mine")
			wantEnd(t, again, codes.PermissionDenied, `may not read service "mine"`)
			if got := refused.of(refusedRead); got != 2 {
				t.Errorf("%d refusals were counted, want 2", got)
			}
		})
	}
}
