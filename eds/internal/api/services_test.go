package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// listed reads a service object: its mode, and "address source served" of each host.
func listed(t testing.TB, body string) (string, []string) {
	t.Helper()
	var s struct {
		Mode  string
		Hosts []struct {
			IPAddress string `json:"ip_address"`
			Port      json.Number
			Source    string
			Served    bool
		}
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	hosts := []string{}
	for _, h := range s.Hosts {
		line := h.IPAddress + ":" + h.Port.String() + " " + h.Source
		if h.Served {
			line += " served"
		}
		hosts = append(hosts, line)
	}
	return s.Mode, hosts
}

func (r *rig) wantService(body, mode string, hosts ...string) {
	r.Helper()
	gotMode, gotHosts := listed(r.TB, body)
	if gotMode != mode || !slices.Equal(gotHosts, hosts) {
		r.Fatalf("got %s %q, want %s %q", gotMode, gotHosts, mode, hosts)
	}
}

func TestGossipAndOperatorTakeTurns(t *testing.T) {
	r := newRig(t)
	const path = "/edsservice/myservice"
	const gossiped, manual = "127.0.0.1:8081 gossip", "127.0.0.1:18080 manual served"

	r.wantService(r.must(200, "GET", path, "").body, "auto", gossiped+" served")

	created := r.must(201, "POST", path, payload)
	if got := created.header.Get("Location"); got != path {
		t.Errorf("Location is %q, want %q", got, path)
	}
	r.wantService(created.body, "merge", gossiped+" served", manual)
	r.wantService(r.must(200, "GET", path, "").body, "merge", gossiped+" served", manual)

	r.wantService(r.must(200, "PUT", path, payload).body, "pin", gossiped, manual)
	r.wantService(r.must(200, "PUT", path, `{"hosts":[]}`).body, "pin", gossiped)
	r.wantService(r.must(200, "GET", path, "").body, "pin", gossiped)

	if got := r.must(204, "DELETE", path, ""); got.body != "" {
		t.Errorf("DELETE answers %q, want nothing", got.body)
	}
	r.wantService(r.must(200, "GET", path, "").body, "auto", gossiped+" served")
}

func TestServiceObjectHasEveryField(t *testing.T) {
	r := newRig(t)
	want := `{"mode":"auto","hosts":[{"ip_address":"127.0.0.1","port":8081,"tags":{"az":"z1","region":"r1","canary":true,` +
		`"load_balancing_weight":10,"version":"v2"},"id":"11111111-2222-4333-8444-555555555555","source":"gossip",` +
		`"state":"healthy","served":true,"since":"2026-01-02T03:04:05Z","acked":{"have":0,"of":0}}]}`
	if got := strings.TrimSpace(r.must(200, "GET", "/edsservice/myservice", "").body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.TrimSpace(r.must(200, "GET", "/edsservice", "").body); got != `{"myservice":`+want+`}` {
		t.Errorf("list has %s", got)
	}
}

func TestPostOverAManualListIsAConflict(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/edsservice/myservice", payload)
	r.must(409, "POST", "/edsservice/myservice", payload)
	r.must(200, "PUT", "/edsservice/myservice", payload)
	r.must(409, "POST", "/edsservice/myservice", payload)
}

func TestPostCreatesAnUnknownService(t *testing.T) {
	r := newRig(t)
	r.wantService(r.must(201, "POST", "/edsservice/new", payload).body, "merge", "127.0.0.1:18080 manual served")
	r.must(200, "PUT", "/edsservice/new", payload)
	r.must(204, "DELETE", "/edsservice/new", "")
	r.must(404, "GET", "/edsservice/new", "")
}

func TestPutAndDeleteOfAnUnknownService(t *testing.T) {
	r := newRig(t)
	r.must(404, "PUT", "/edsservice/unknown", payload)
	r.must(404, "DELETE", "/edsservice/unknown", "")
	r.must(404, "DELETE", "/edsservice/myservice", "")
	r.must(404, "GET", "/edsservice/unknown", "")
}

func TestServiceWithoutMembersIsUnknown(t *testing.T) {
	r := newRig(t)
	for _, liveness := range []fleet.Liveness{fleet.Left, fleet.Dead} {
		r.registry.members[0].Liveness = liveness
		r.must(404, "GET", "/edsservice/myservice", "")
		r.must(404, "PUT", "/edsservice/myservice", payload)
	}
}

func TestNothingIsCalledUnknownBeforeGossipHasSettled(t *testing.T) {
	r := newRig(t)
	r.registry.settled = false
	for _, method := range []string{"GET", "PUT"} {
		got := r.must(503, method, "/edsservice/unknown", payload)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", method)
		}
	}
	r.must(200, "GET", "/edsservice/myservice", "")
	r.must(503, "GET", "/readyz", "")
	r.registry.settled = true
	r.must(404, "GET", "/edsservice/unknown", "")
	r.must(200, "GET", "/readyz", "")
}

func TestTagsAreOptionalAndFurtherOnesAreKept(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/edsservice/a", `{"hosts":[{"ip_address":"10.0.0.1","port":80}]}`)
	got := r.must(200, "GET", "/edsservice/a", "").body
	if want := `"tags":{"az":"","canary":false,"load_balancing_weight":1}`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
	const all = `"tags":{"az":"z","region":"r","canary":true,"load_balancing_weight":65535,"stage":"prod","version":"v2"}`
	r.must(201, "POST", "/edsservice/b", `{"hosts":[{"ip_address":"fd00::1","port":80,`+all+`}]}`)
	if got := r.must(200, "GET", "/edsservice/b", "").body; !strings.Contains(got, all) {
		t.Errorf("%s lacks %s", got, all)
	}
	list, _ := r.store.InForce()
	if want := map[string]string{"stage": "prod", "version": "v2"}; len(list) != 2 || list[1].Hosts[0].Tags["stage"] != want["stage"] || len(list[1].Hosts[0].Tags) != 2 {
		t.Errorf("the store has %+v, want tags %v", list, want)
	}
}

func TestProbeIsKeptAndShown(t *testing.T) {
	r := newRig(t)
	const hosts = `{"hosts":[{"ip_address":"10.0.0.1","port":80,"probe":true},{"ip_address":"10.0.0.2","port":80,"probe":false}]}`
	got := r.must(201, "POST", "/edsservice/a", hosts).body
	if n := strings.Count(got, `"probe":true`); n != 1 || strings.Contains(got, `"probe":false`) {
		t.Errorf("%s, want one host that is probed, and nothing said of the other", got)
	}
	if list, _ := r.store.InForce(); len(list) != 1 || !list[0].Hosts[0].Probe || list[0].Hosts[1].Probe {
		t.Errorf("the store has %+v", list)
	}
}

func TestServiceNamesMayHoldWhatURLsEscape(t *testing.T) {
	r := newRig(t)
	got := r.must(201, "POST", "/edsservice/my%3Fservice%25", payload)
	if location := got.header.Get("Location"); location != "/edsservice/my%3Fservice%25" {
		t.Errorf("Location is %q", location)
	}
	list, _ := r.store.InForce()
	if len(list) != 1 || list[0].Service != "my?service%" {
		t.Errorf("the store has %+v", list)
	}
	r.must(200, "GET", "/edsservice/my%3Fservice%25", "")
}

// A registry that lags must not make a durable write look failed.
func TestWriteSucceedsWhileTheRegistryLags(t *testing.T) {
	r := newRig(t)
	r.registry.stale = r.registry.Snapshot()
	synctest.Test(t, func(t *testing.T) {
		handler := New(r.opts)
		call := func(method, body string) *httptest.ResponseRecorder {
			req := httptest.NewRequest(method, "/edsservice/myservice", strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			began := time.Now()
			handler.ServeHTTP(w, req)
			if took := time.Since(began); took != visibleWithin {
				t.Errorf("%s waited %v, want %v", method, took, visibleWithin)
			}
			return w
		}
		for method, want := range map[string]override.Mode{"POST": override.Merge, "PUT": override.Pin} {
			w := call(method, payload)
			mode, hosts := listed(t, w.Body.String())
			if w.Code/100 != 2 || mode != string(want) || !slices.Contains(hosts, "127.0.0.1:18080 manual served") {
				t.Errorf("%s: %d %s", method, w.Code, w.Body)
			}
			if w := call("DELETE", ""); w.Code != http.StatusNoContent {
				t.Errorf("DELETE: %d", w.Code)
			}
		}
	})
}

func TestFailingStoreIsA500WithoutInternals(t *testing.T) {
	r := newRig(t)
	r.opts.Overrides = brokenStore{r.store}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		req := httptest.NewRequest(method, "/edsservice/myservice", strings.NewReader(payload))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		New(r.opts).ServeHTTP(w, req)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}

// brokenStore reads, and writes nothing.
type brokenStore struct{ *override.Store }

func (brokenStore) Edit(override.Edit) (override.Override, uint64, error) {
	return override.Override{}, 0, errDisk
}

func (brokenStore) Revoke(override.Key, string, string, func(string, string) bool) (override.Override, uint64, error) {
	return override.Override{}, 0, errDisk
}

var errDisk = errors.New("the disk is full")
