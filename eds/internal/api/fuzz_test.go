package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// FuzzRequests sends whole requests to every handler: with whatever path and body,
// the answer is of the API, a refusal says why, and the server does not fail.
func FuzzRequests(f *testing.F) {
	host := "/edsservice/myservice/hosts/" + memberID.String()
	for _, seed := range []struct{ method, path, contentType, body string }{
		{"PATCH", host, "application/merge-patch+json", `{"state":"drain","expires_in":"1h","reason":"x"}`},
		{"PATCH", "/edsservice/myservice/hosts/127.0.0.1:8081", "application/json", `{"load_balancing_weight":5,"tags":{"az":"b","canary":true}}`},
		{"PATCH", "/edsservice/myservice/hosts/[::1]:80", "application/json", `{"state":null}`},
		{"PATCH", "/edsservice/a%2fb/hosts/%zz", "application/json", `{}`},
		{"DELETE", host, "", ""},
		{"GET", host + "?x=1", "", ""},
		{"POST", "/edsservice/other?expires_in=1h&reason=x", "application/json", payload},
		{"PUT", "/edsservice/myservice", "application/json", `{"hosts":[]}`},
		{"GET", "/overrides/0123456789abcdef", "", ""},
		{"DELETE", "/overrides/zz", "", ""},
		{"GET", "/audit?since=24h&limit=3&before=1", "", ""},
		{"POST", "/keys", "application/json", `{"key":"AAAAAAAAAAAAAAAAAAAAAA=="}`},
		{"PUT", "/keys/3f2a", "", ""},
		{"DELETE", "/guards/myservice", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.contentType, seed.body)
	}
	h := New(newRig(f).opts)
	f.Fuzz(func(t *testing.T, method, path, contentType, body string) {
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", method, path, contentType, len(body))
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + body)))
		if err != nil || strings.HasPrefix(r.URL.Path, "/events") { // which has no end
			return
		}
		r.RemoteAddr = "127.0.0.1:4000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code >= 500 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusInsufficientStorage:
			t.Errorf("%s %q: status %d: %s", method, path, w.Code, w.Body)
		case w.Code >= 400 && r.Method != http.MethodHead && !strings.Contains(path, "/console/") && !strings.Contains(path, "discovery") && !json.Valid(w.Body.Bytes()):
			t.Errorf("%s %q: status %d and no problem document: %q", method, path, w.Code, w.Body)
		}
	})
}

// FuzzServicePath takes the service's name off a path: what is taken is a name.
func FuzzServicePath(f *testing.F) {
	for _, seed := range []string{"myservice", "", "a/b", "a%2Fb", "..", "%00", "%ff", "*", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		r := mux.SetURLVars(httptest.NewRequest("GET", "/", nil), map[string]string{"service": escaped})
		if name, err := serviceName(r); err == nil && (fleet.CheckService(name) != nil || strings.Contains(name, "/")) {
			t.Errorf("took %q as %q", escaped, name)
		}
	})
}

// FuzzHostPath takes a host's name off a path: what is taken is a uuid or an address
// as everybody writes it, or two overrides might be about one host.
func FuzzHostPath(f *testing.F) {
	for _, seed := range []string{
		memberID.String(), "urn:uuid:" + memberID.String(), "{" + strings.ToUpper(memberID.String()) + "}", "127.0.0.1:8081", "127.0.0.1%3A8081",
		"[::1]:80", "[::ffff:10.0.0.1]:80", "[fe80::1%25eth0]:80", "10.0.0.1:080", "10.0.0.1:0", "0.0.0.0:80", "", "%zz", "a:b",
	} {
		f.Add(seed)
	}
	a := &api{Options: newRig(f).opts}
	f.Fuzz(func(t *testing.T, escaped string) {
		n, err := a.hostName(mux.SetURLVars(httptest.NewRequest("GET", "/", nil), map[string]string{"service": "myservice", "host": escaped}))
		if err != nil {
			if p := asProblem(err); p.Status < 400 || p.Status >= 500 {
				t.Errorf("%q: %v", escaped, err)
			}
			return
		}
		if addr, err := netip.ParseAddrPort(n.key.Host); err == nil {
			if fleet.CheckAddr(addr) != nil || netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String() != n.key.Host {
				t.Errorf("took %q as the address %q", escaped, n.key.Host)
			}
			return
		}
		if id, err := uuid.Parse(n.key.Host); err != nil || id.String() != n.key.Host {
			t.Errorf("took %q as %q", escaped, n.key.Host)
		}
	})
}
