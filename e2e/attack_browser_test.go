package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// browses sends what a browser would for a page that means harm, and returns the status.
func (h *harness) browses(method, path, body, host string, headers map[string]string) int {
	h.t.Helper()
	req := must2(http.NewRequestWithContext(within(h.t, patience), method, "http://"+h.Addresses.HTTP+path, strings.NewReader(body)))(h.t)
	req.Header.Set("Content-Type", "application/json")
	if host != "" {
		req.Host = host
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp := must2(http.DefaultClient.Do(req))(h.t)
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.REST, "--no-retries") // asks at the same port, with its cluster's name as Host
	one := h.upstream()
	h.serves(one)

	load := h.load()
	path, body := "/edsservice/"+h.Service, stage.HostList(9)
	for _, c := range []struct {
		method, path, host string
		headers            map[string]string
		want               int
	}{
		{"PUT", path, "", map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden},
		{"PUT", path, "", map[string]string{"Sec-Fetch-Site": "same-site"}, http.StatusForbidden},
		{"POST", path, "", map[string]string{"Origin": "http://evil.example"}, http.StatusForbidden},
		{"DELETE", path, "", map[string]string{"Origin": "null"}, http.StatusForbidden},
		{"PUT", path, "evil.example", map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, http.StatusMisdirectedRequest},
		{"PUT", path, "127.0.0.1.evil.example:8080", nil, http.StatusMisdirectedRequest},
		{"GET", "/members", "evil.example", nil, http.StatusMisdirectedRequest},
		{"GET", "/v1/registration/" + h.Service, "evil.example", map[string]string{"Origin": "http://evil.example"}, http.StatusMisdirectedRequest},
		{"GET", "/v1/registration/" + h.Service, "rollcall_eds", nil, http.StatusOK}, // as Envoy asks
	} {
		if got := h.browses(c.method, c.path, body, c.host, c.headers); got != c.want {
			t.Errorf("%s %s at %q with %v: status %d, want %d", c.method, c.path, c.host, c.headers, got, c.want)
		}
	}
	if s := must2(h.API.Service(within(t, patience), h.Service))(t); s.Mode != "auto" || len(s.Hosts) != 1 {
		t.Errorf("the service is changed: %+v", s)
	}
	metrics := h.request(http.StatusOK, http.MethodGet, "/metrics", "")
	for _, line := range []string{`rollcall_refused_total{reason="http_cross_origin"} 4`, `rollcall_refused_total{reason="http_host"} 4`} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics do not have %s", line)
		}
	}
	two := h.upstream()
	h.serves(one, two) // Envoy is still answered
	h.isUnderWay(load)
	h.noneFailed(load)
}

// isUnderWay waits until l has asked often enough to say something.
func (h *harness) isUnderWay(l *stage.Load) {
	h.t.Helper()
	h.eventually("the load", func(context.Context) error {
		if n := len(l.Answers()); n < 100 {
			return fmt.Errorf("%d answers", n)
		}
		return nil
	})
}
