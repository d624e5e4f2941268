package middleware

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/auth"
)

// door is a guarded handler that answers 200 with the actor it was told.
type door struct {
	http.Handler
	refused map[string]int
}

func newDoor(o Options) door {
	d := door{refused: make(map[string]int)}
	o.Logger = slog.New(slog.DiscardHandler)
	o.Refused = func(reason string) { d.refused[reason]++ }
	d.Handler = New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get(fleet.ActorHeader))
	}), o)
	return d
}

func (d door) ask(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d door) want(t *testing.T, status int, reason, method, target string, header ...string) {
	t.Helper()
	before := d.refused[reason]
	w := d.ask(method, target, header...)
	if w.Code != status {
		t.Errorf("%s %s %q: status %d, want %d: %s", method, target, header, w.Code, status, w.Body)
	}
	if reason == "" {
		return
	}
	var problem struct{ Detail string }
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Detail == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: not a problem document: %s", method, target, w.Body)
	}
	if d.refused[reason] != before+1 {
		t.Errorf("%s %s: not counted as %s: %v", method, target, reason, d.refused)
	}
}

func TestRebindingHostIsRefused(t *testing.T) {
	d := newDoor(Options{Listen: netip.MustParseAddr("10.0.0.1"), Hosts: []string{"Eds.Internal."}})
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:8080": true, "localhost.:8080": true, "127.0.0.1:8080": true, "127.1.2.3": true, "[::1]:8080": true, "[::1]": true,
		"10.0.0.1:8080": true, "10.0.0.1": true, "eds.internal:8080": true,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "10.0.0.2": false, "127.0.0.1.evil.example": false,
		"[fe80::1%25eth0]": false, "": false, "0x7f000001": false, "2130706433": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/members", nil)
		r.Host = host
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if want := map[bool]int{true: 200, false: 421}[ok]; w.Code != want {
			t.Errorf("%q: status %d, want %d", host, w.Code, want)
		}
	}
	any := newDoor(Options{Listen: netip.MustParseAddr("0.0.0.0")})
	any.want(t, 200, "", "GET", "http://192.0.2.1/members")
	any.want(t, 421, RefusedHost, "GET", "http://evil.example/members")
}

func TestEnvoysHostIsAnythingUnlessABrowserSendsIt(t *testing.T) {
	d := newDoor(Options{Listen: netip.MustParseAddr("127.0.0.1")})
	for _, path := range []string{"/v2/discovery:endpoints", "/v3/discovery:endpoints"} {
		d.want(t, 200, "", "POST", "http://xds_cluster"+path)
		d.want(t, 421, RefusedHost, "POST", "http://evil.example"+path, "Origin", "http://evil.example")
	}
	d.want(t, 200, "", "GET", "http://xds_cluster/v1/registration/a")
	for _, path := range []string{"/v3/discovery%3Aendpoints", "/v3/discovery:endpoints/", "//v3/discovery:endpoints", "/v1/registration"} {
		d.want(t, 421, RefusedHost, "POST", "http://xds_cluster"+path)
	}
}

// Envoy's health check of the EDS cluster has the cluster's name as Host.
func TestHealthIsAnsweredUnderAnyHost(t *testing.T) {
	d := newDoor(Options{Listen: netip.MustParseAddr("127.0.0.1")})
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, host := range []string{"xds_cluster", "10.9.8.7:8080", "evil.example"} {
			d.want(t, 200, "", "GET", "http://"+host+path)
			d.want(t, 200, "", "HEAD", "http://"+host+path)
		}
		d.want(t, 421, RefusedHost, "GET", "http://evil.example"+path, "Origin", "http://evil.example")
	}
	for _, path := range []string{"/", "/openapi.yaml", "/console/", "/healthz/", "//readyz", "/readyz%2f", "/metrics"} {
		d.want(t, 421, RefusedHost, "GET", "http://xds_cluster"+path)
	}
}

func TestPageOfAnotherSiteChangesNothing(t *testing.T) {
	d := newDoor(Options{Listen: netip.MustParseAddr("127.0.0.1")})
	const here = "http://localhost/edsservice/a"
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		d.want(t, 403, RefusedCrossOrigin, method, here, "Origin", "http://evil.example")
		d.want(t, 403, RefusedCrossOrigin, method, here, "Origin", "null")
		d.want(t, 403, RefusedCrossOrigin, method, here, "Sec-Fetch-Site", "cross-site")
		d.want(t, 403, RefusedCrossOrigin, method, here, "Sec-Fetch-Site", "same-site")
		d.want(t, 200, "", method, here, "Origin", "http://localhost")
		d.want(t, 200, "", method, here, "Sec-Fetch-Site", "same-origin")
		d.want(t, 200, "", method, here)
	}
	d.want(t, 200, "", "GET", here, "Sec-Fetch-Site", "cross-site")
}

func TestEveryAnswerKeepsBrowsersFromMakingItAPage(t *testing.T) {
	d := newDoor(Options{})
	for _, target := range []string{"http://localhost/members", "http://evil.example/"} {
		h := d.ask("GET", target).Header()
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", target, h)
		}
	}
}

func TestRolesDecideWhatMayBeDone(t *testing.T) {
	var file []string
	bearer := make(map[auth.Role]string)
	for name, role := range map[string]auth.Role{"vera": auth.Viewer, "olaf": auth.Operator} {
		token, line, err := auth.NewToken(auth.Identity{Name: name, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		bearer[role], file = "Bearer "+token, append(file, line)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(strings.Join(file, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	who, err := auth.New(auth.Options{TokenFile: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(Options{Auth: who})
	for _, tt := range []struct {
		method, path             string
		nobody, viewer, operator int
	}{
		{"GET", "/", 200, 200, 200}, {"GET", "/healthz", 200, 200, 200}, {"HEAD", "/readyz", 200, 200, 200},
		{"GET", "/openapi.yaml", 200, 200, 200}, {"GET", "/console/console.js", 200, 200, 200},
		{"POST", "/", 401, 403, 200}, {"DELETE", "/console/x", 401, 403, 200},
		{"GET", "/members", 401, 200, 200}, {"GET", "/metrics", 401, 200, 200}, {"HEAD", "/edsservice/a", 401, 200, 200}, {"GET", "/consolex", 401, 200, 200}, {"GET", "//", 401, 200, 200},
		{"POST", "/edsservice/a", 401, 403, 200}, {"PUT", "/edsservice/a", 401, 403, 200}, {"DELETE", "/guards/a", 401, 403, 200}, {"BREW", "/members", 401, 403, 200},
		{"POST", "/v3/discovery:endpoints", 401, 200, 200}, {"GET", "/v1/registration/a", 401, 200, 200},
	} {
		target := "http://localhost" + tt.path
		for _, as := range []struct {
			authorization string
			status        int
		}{{"", tt.nobody}, {bearer[auth.Viewer], tt.viewer}, {bearer[auth.Operator], tt.operator}} {
			if w := d.ask(tt.method, target, "Authorization", as.authorization); w.Code != as.status {
				t.Errorf("%s %s as %.12q: status %d, want %d", tt.method, tt.path, as.authorization, w.Code, as.status)
			}
		}
	}
	d.want(t, 401, RefusedIdentity, "GET", "http://localhost/members", "Authorization", "Bearer rollcall_wrong")
	d.want(t, 403, RefusedRole, "PUT", "http://localhost/edsservice/a", "Authorization", bearer[auth.Viewer])
	if got := d.ask("PUT", "http://localhost/edsservice/a", "Authorization", bearer[auth.Operator], fleet.ActorHeader, "root").Body.String(); got != "olaf" {
		t.Errorf("the actor is %q, want olaf", got)
	}
	if got := newDoor(Options{}).ask("PUT", "http://localhost/edsservice/a", fleet.ActorHeader, "root").Body.String(); got != "root" {
		t.Errorf("nobody has to prove a name, and the actor is %q", got)
	}
}

func TestLongBodyIsCutOff(t *testing.T) {
	d := newDoor(Options{MaxBody: 10})
	for n, want := range map[int]int{10: 200, 11: 413} {
		r := httptest.NewRequest("PUT", "http://localhost/edsservice/a", strings.NewReader(strings.Repeat("x", n)))
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d bytes: status %d, want %d", n, w.Code, want)
		}
	}
}

func TestEachAddressHasItsOwnRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(Options{Rate: 5, DiscoveryRate: 10})
		allowed := func(addr, path string, n int) (ok int) {
			for range n {
				r := httptest.NewRequest("GET", "http://localhost"+path, nil)
				r.RemoteAddr = addr
				w := httptest.NewRecorder()
				if d.ServeHTTP(w, r); w.Code == 200 {
					ok++
				} else if w.Code != 429 || w.Header().Get("Retry-After") == "" {
					t.Errorf("status %d", w.Code)
				}
			}
			return ok
		}
		want := func(want int, addr, path string) {
			t.Helper()
			if got := allowed(addr, path, 100); got != want {
				t.Errorf("%s %s: %d of 100 allowed, want %d", addr, path, got, want)
			}
		}
		want(10, "10.0.0.1:1", "/members")
		want(0, "10.0.0.1:2", "/members")
		want(20, "10.0.0.1:3", "/v1/registration/a")
		want(10, "10.0.0.2:1", "/members")
		want(10, "[2001:db8::1]:1", "/members")
		want(0, "[2001:db8::2]:1", "/members")
		want(10, "[2001:db8:1::1]:1", "/members")
		time.Sleep(time.Second)
		want(5, "10.0.0.1:1", "/members")
	})
}

func FuzzHost(f *testing.F) {
	for _, seed := range []string{"localhost", "[::1]:80", "evil.example", "127.0.0.1.", "[::ffff:127.0.0.1]", ":", "localhost:1:2", "%00", "LOCALHOST."} {
		f.Add(seed)
	}
	h := newHosts(netip.MustParseAddr("10.0.0.1"), nil)
	f.Fuzz(func(t *testing.T, host string) {
		if !h.allows(host) {
			return
		}
		name := normal(hostOf(host))
		ip, err := netip.ParseAddr(name)
		if name != "localhost" && (err != nil || !ip.Unmap().IsLoopback() && ip.Unmap().String() != "10.0.0.1") {
			t.Errorf("%q is allowed", host)
		}
	})
}

// The end of a body may come long after its beginning.
func TestABodyThatOutlivesItsTokenIsNotActedUpon(t *testing.T) {
	token, line, err := auth.NewToken(auth.Identity{Name: "olaf", Role: auth.Operator})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	synctest.Test(t, func(t *testing.T) {
		for _, revoked := range []bool{false, true} {
			if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
			who, err := auth.New(auth.Options{TokenFile: path, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			d := newDoor(Options{Auth: who})
			body, write := io.Pipe()
			go func() {
				_, _ = io.WriteString(write, "half")
				if revoked {
					_ = os.WriteFile(path, []byte("# nobody\n"), 0o600)
				}
				time.Sleep(2 * time.Second)
				_, _ = io.WriteString(write, " and half")
				_ = write.Close()
			}()
			r := httptest.NewRequest("PUT", "http://localhost/edsservice/a", body)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if ok := w.Code == http.StatusOK; ok == revoked {
				t.Errorf("revoked %t: status %d", revoked, w.Code)
			}
			_ = body.Close()
		}
	})
}
