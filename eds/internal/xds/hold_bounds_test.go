package xds

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// More polls of one address would use up its connections.
func TestHeldPollsOfAnAddressAreBounded(t *testing.T) {
	holding(t, Options{MaxHeld: 2}, func(t *testing.T, s *Server, version string) {
		first, second := sends(s, "1000", pollBody(version, "web")), sends(s, "1000", pollBody(version, "web"))
		if !first.held() || !second.held() {
			t.Error("two are not held")
		}
		if got := sends(s, "1000", pollBody(version, "web")).says(); got != "304 at once" {
			t.Errorf("a third: %s", got)
		}
		first.says()
		if !sends(s, "1000", pollBody(version, "web")).held() {
			t.Error("once they are answered, none is held")
		}
	})
}

// Its connections are those of one address, too.
func TestHeldPollsOfAnIPv6NetworkAreBounded(t *testing.T) {
	holding(t, Options{MaxHeld: 1}, func(t *testing.T, s *Server, version string) {
		if !sendsFrom("[2001:db8::1]:5000", s, "1000", pollBody(version, "web")).held() {
			t.Error("one is not held")
		}
		if got := sendsFrom("[2001:db8::2]:5000", s, "1000", pollBody(version, "web")).says(); got != "304 at once" {
			t.Errorf("one of its neighbour's: %s", got)
		}
		for _, other := range []string{"[2001:db8:0:1::1]:5000", "10.0.0.1:5000", "10.0.0.2:5000"} {
			if !sendsFrom(other, s, "1000", pollBody(version, "web")).held() {
				t.Errorf("one from %s is not held", other)
			}
		}
	})
}

// An Envoy's poll describes the whole Envoy, which is not kept while the poll is held.
func TestHeldPollTakesLittleMemory(t *testing.T) {
	const polls, each = 10, 77_000 // bytes
	s := abrupt(Options{})
	s.Update(settled(service("web", hostA)))
	version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
	server := httptest.NewServer(http.HandlerFunc(s.ServeRESTv3))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer leave()
	before := inUse()
	for i := range polls {
		about := strings.Repeat(`"x",`, each/4)
		body := fmt.Sprintf(`{"node":{"id":"envoy-%d","metadata":{"all":[%s1]}},"version_info":%q,"resource_names":["web"]}`, i, about, version)
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(body))
		req.Header.Set(expectedHeader, "10000")
		clients.Go(func() {
			if resp, err := server.Client().Do(req); err == nil {
				_ = resp.Body.Close()
			}
		})
		s.eventuallyHolds(t, i+1)
	}
	if took := inUse() - before; took > 4*polls*each { // the client keeps its own
		t.Errorf("%d polls take %d bytes", polls, took)
	}
}

func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// How long a poll is held does not affect how often its client is expected to poll.
func TestHeldPollerIsNotGoneAndKeepsItsInterval(t *testing.T) {
	holding(t, Options{}, func(t *testing.T, s *Server, version string) {
		here := func() bool { return len(s.Clients()) == 1 }
		for range 15 { // a minute and more
			if got := sends(s, "10000", pollBody(version, "web")).says(); got != "304 after 5s" {
				t.Fatal(got)
			}
			if time.Sleep(100 * time.Millisecond); !here() {
				t.Fatal("it polls, and is gone")
			}
		}
		a := sends(s, "10000", pollBody(version, "web"))
		a.says()
		if time.Sleep(300*time.Millisecond + comeBack); !here() {
			t.Error("it is gone before it has missed three polls and 5 s more")
		}
		if time.Sleep(time.Nanosecond); here() {
			t.Error("it has missed its polls since it was answered, and is there")
		}
	})
}

func TestPollerHeldForLongerThanItsIntervalIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newClients(100, 0)
		var c *client
		for range 700 {
			c, _ = cs.poll(poller{transport: TransportREST, node: "n"}, "10.0.0.1:1", time.Now())
			cs.heard(c, request{node: "n"}, time.Now())
			time.Sleep(100 * time.Millisecond)
		}
		if !cs.hold(c, 1) {
			t.Fatal("it is not held")
		}
		time.Sleep(2 * comeBack)
		if len(cs.list(time.Now())) != 1 {
			t.Error("it is gone though its poll is held")
		}
		cs.release(c, time.Now())
		time.Sleep(2 * comeBack)
		if len(cs.list(time.Now())) != 0 {
			t.Error("it is there though it was answered long ago")
		}
	})
}
