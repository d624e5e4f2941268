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
	"google.golang.org/grpc/codes"
)

func TestOneClientFillsNoLog(t *testing.T) {
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

func TestRequestsThatComeTooFastAreNotLogged(t *testing.T) {
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

func TestANodeThatCannotBeWrittenDownIsRefused(t *testing.T) {
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
