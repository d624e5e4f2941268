package xds

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/rollcall-fleet/rollcall/internal/rates"
	"google.golang.org/grpc/codes"
)

func TestLogLinesOfOneClientAreBounded(t *testing.T) {
	var l logLines
	start := time.Unix(1, 0)
	logged := 0
	for i := range 1000 { // one each millisecond
		if silenced, _ := l.spend(start.Add(time.Duration(i) * time.Millisecond)); !silenced {
			logged++
		}
	}
	if logged != linesASecond {
		t.Errorf("%d lines in a second", logged)
	}
	if silenced, leftOut := l.spend(start.Add(time.Second)); silenced || leftOut != 1000-linesASecond {
		t.Errorf("then silenced %v, %d left out", silenced, leftOut)
	}
	if _, leftOut := l.spend(start.Add(time.Second)); leftOut != 0 {
		t.Errorf("%d are left out twice", leftOut)
	}
}

func TestRequestsAboveTheRateAreNotLogged(t *testing.T) {
	var log lines
	s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.Update(settled())
	c := openADS(t, s.conn)
	for i := range 500 {
		c.send(&discoveryv3.DiscoveryRequest{TypeUrl: typeV3, ResourceNames: []string{fmt.Sprint("s", i)}})
	}
	c.send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "\n"}, TypeUrl: typeV3})
	for { // until all of them are read
		if _, err := c.recv(); err != nil {
			break
		}
	}
	must(t, s.stop())
	if n := len(log.with("discovery request")); n == 0 || n > 200 {
		t.Errorf("%d lines for 500 requests", n)
	}
}

func TestNodeIDWithControlCharactersIsRefused(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", "10.0.0.1:80")))
	for _, id := range []string{"a\nb", "a\u009bb", "a\x00"} {
		sotw := openADS(t, s.conn)
		sotw.send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: typeV3, ResourceNames: []string{"web"}})
		wantEnd(t, sotw, codes.InvalidArgument, "control characters")
		delta := openDeltaADS(t, s.conn)
		delta.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: typeV3, ResourceNamesSubscribe: []string{"web"}})
		wantEnd(t, delta, codes.InvalidArgument, "control characters")
		w := httptest.NewRecorder()
		body := fmt.Sprintf(`{"node":{"id":%s},"resource_names":["web"]}`, strings.ReplaceAll(fmt.Sprintf("%q", id), `\x00`, `\u0000`))
		s.ServeRESTv3(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "control characters") {
			t.Errorf("%q over REST: %d %s", id, w.Code, w.Body)
		}
	}
}

// Each new stream, and each poll for other names, is another client.
func TestLogLinesOfOneAddressAreBounded(t *testing.T) {
	clients, start := newClients(10, 10), time.Now()
	say := func(peer string, n int, at time.Duration) (logged, leftOut int) {
		for i := range n {
			now := start.Add(at)
			c, ok := clients.open(TransportADS, peer, now)
			if !ok {
				t.Fatal("there is no room")
			}
			r := clients.heard(c, request{node: fmt.Sprint("envoy-", i), verdict: verdictSubscribe}, now)
			if !r.silenced {
				logged, leftOut = logged+1, leftOut+r.leftOut
			}
			clients.close(c, false, now)
		}
		return logged, leftOut
	}
	if logged, _ := say("10.0.0.1:1", 2*addressBurst, 0); logged != addressBurst {
		t.Errorf("%d lines are logged at once, want %d", logged, addressBurst)
	}
	if logged, _ := say("10.0.0.2:1", 10, 0); logged != 10 {
		t.Errorf("%d lines of another address are logged, want 10", logged)
	}
	if logged, leftOut := say("10.0.0.1:2", 2*addressLines, time.Second); logged != addressLines || leftOut != addressBurst {
		t.Errorf("a second later %d are logged and %d counted as left out, want %d and %d", logged, leftOut, addressLines, addressBurst)
	}
	for i := range 2 * rates.MaxParties {
		say(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>16, i&0xffff), 1, 2*time.Second)
	}
	if n := clients.logs.Len(); n > rates.MaxParties+1 {
		t.Errorf("%d addresses are kept", n)
	}
}

func TestLinesLeftOutOfAClientAreCountedAlthoughItsAddressIsSilenced(t *testing.T) {
	clients, start := newClients(10, 10), time.Now()
	c, _ := clients.open(TransportADS, "10.0.0.1:1", start)
	i := 0
	say := func(at time.Duration) request {
		i++
		return clients.heard(c, request{node: "envoy", version: fmt.Sprint(i), verdict: verdictSubscribe}, start.Add(at))
	}
	for range linesASecond + 5 {
		say(0)
	}
	for ok := true; ok; ok, _ = clients.logs.Allow(c.from, start.Add(time.Second)) {
	}
	if r := say(time.Second); !r.silenced || r.leftOut != 0 {
		t.Fatalf("with its address silenced: %+v", r)
	}
	if r := say(2 * time.Second); r.silenced || r.leftOut != 5+2 { // one of them is the test's own
		t.Errorf("then silenced %t, %d are left out, want 7", r.silenced, r.leftOut)
	}
}
