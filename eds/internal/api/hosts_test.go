package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var (
	hostByID   = "/edsservice/myservice/hosts/" + memberID.String()
	hostByAddr = "/edsservice/myservice/hosts/127.0.0.1:8081"
)

// seen is a host as the API answers.
type seen struct {
	Service, Host string
	Override      *struct {
		ID, State, Actor, Reason string
		Weight                   int `json:"load_balancing_weight"`
		Tags                     map[string]any
		Since, Until             time.Time
	}
	Endpoint *struct {
		Served   bool
		Tags     map[string]any
		Override *struct{ ID string }
	}
}

func (r *rig) seen(got reply) seen {
	r.Helper()
	var s seen
	if err := json.Unmarshal([]byte(got.body), &s); err != nil {
		r.Fatal(err)
	}
	return s
}

// ask is do with headers, given as pairs.
func (r *rig) ask(want int, method, path, body string, headers ...string) reply {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	got := r.send(req)
	if got.status != want {
		r.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, got.status, want, got.body)
	}
	return got
}

func TestOverrideIsMadePatchedAndRevoked(t *testing.T) {
	r := newRig(t)
	if got := r.ask(200, "GET", hostByID, ""); got.header.Get("ETag") != `"auto"` || r.seen(got).Override != nil || !r.seen(got).Endpoint.Served {
		t.Errorf("before: %s %s", got.header.Get("ETag"), got.body)
	}
	got := r.ask(200, "PATCH", hostByID, `{"state":"drain","load_balancing_weight":5,"tags":{"az":"z2","canary":false},"expires_in":"1d12h","reason":"disk"}`, "X-Rollcall-Actor", "ann")
	s := r.seen(got)
	o := s.Override
	if s.Service != "myservice" || s.Host != memberID.String() || o == nil || o.State != "drain" || o.Weight != 5 || o.Actor != "ann" || o.Reason != "disk" || o.Until.Sub(o.Since) != 36*time.Hour {
		t.Fatalf("decided: %s", got.body)
	}
	if s.Endpoint.Served || s.Endpoint.Override.ID != o.ID || s.Endpoint.Tags["az"] != "z2" || s.Endpoint.Tags["canary"] != false || s.Endpoint.Tags["version"] != "v2" || s.Endpoint.Tags["load_balancing_weight"] != 5.0 {
		t.Errorf("the host: %s", got.body)
	}
	if body := r.ask(200, "GET", "/edsservice/myservice", "").body; !strings.Contains(body, `"override":{"id":"`+o.ID+`"`) {
		t.Errorf("the service: %s", body)
	}

	got = r.ask(200, "PATCH", hostByID, `{"state":null,"tags":{"az":null}}`)
	if o := r.seen(got).Override; o.State != "" || o.Weight != 5 || len(o.Tags) != 1 || o.Reason != "disk" || o.Until.IsZero() || o.Actor != "127.0.0.1" {
		t.Errorf("patched: %s", got.body)
	}
	if !r.seen(got).Endpoint.Served {
		t.Errorf("not served: %s", got.body)
	}
	if o := r.seen(r.ask(200, "PATCH", hostByID, `{"expires_in":null,"reason":null}`)).Override; !o.Until.IsZero() || o.Reason != "" {
		t.Errorf("patched again: %+v", o)
	}
	got = r.ask(200, "PATCH", hostByID, `{"load_balancing_weight":null,"tags":null}`)
	if r.seen(got).Override != nil || got.header.Get("ETag") != `"auto"` {
		t.Errorf("nothing is left: %s", got.body)
	}
	r.ask(200, "PATCH", hostByID, `{"state":null}`)
	r.ask(404, "DELETE", hostByID, "")
	if entries, _ := r.store.Audit(time.Time{}, 10, ""); len(entries) != 4 || entries[0].Action != override.Revoked {
		t.Errorf("the audit has %+v", entries)
	}
}

func TestHostIsNamedByItsProcessOrItsAddress(t *testing.T) {
	r := newRig(t)
	r.ask(200, "PATCH", hostByAddr, `{"state":"exclude"}`)
	if s := r.seen(r.ask(200, "GET", hostByID, "")); s.Override != nil || s.Endpoint.Served || s.Endpoint.Override == nil {
		t.Errorf("by its uuid: %+v", s)
	}
	r.ask(200, "PATCH", hostByID, `{"load_balancing_weight":7}`)
	r.ask(204, "DELETE", hostByID, "") // both
	if s := r.seen(r.ask(200, "GET", hostByAddr, "")); s.Override != nil || !s.Endpoint.Served {
		t.Errorf("after DELETE: %+v", s)
	}
	r.ask(404, "DELETE", hostByAddr, "")
}

func TestOverrideWaitsForItsAddress(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/edsservice/myservice/hosts/10.0.0.9:80", "/edsservice/nobody/hosts/%5B2001:db8::1%5D:80", "/edsservice/nobody/hosts/%5B2001%3Adb8%3A%3A1%5D%3A80"} {
		got := r.ask(200, "PATCH", path, `{"state":"drain"}`)
		if s := r.seen(got); s.Endpoint != nil || s.Override == nil {
			t.Errorf("%s: %s", path, got.body)
		}
		r.ask(200, "GET", path, "")
	}
	if list, _ := r.store.InForce(); len(list) != 2 || list[1].Host != "[2001:db8::1]:80" {
		t.Errorf("the store has %+v", list)
	}
	m := upstream()
	m.Endpoint.Addr = netipAddr("10.0.0.9:80")
	r.registry.members[0] = m
	if s := r.seen(r.ask(200, "GET", "/edsservice/myservice/hosts/10.0.0.9:80", "")); s.Endpoint == nil || s.Endpoint.Served {
		t.Errorf("once it is there: %+v", s)
	}
	r.ask(204, "DELETE", "/edsservice/nobody/hosts/%5B2001:db8::1%5D:80", "")
	r.ask(404, "GET", "/edsservice/nobody/hosts/%5B2001:db8::1%5D:80", "")
}

func TestProcessThatIsNotThereIsNotFound(t *testing.T) {
	r := newRig(t)
	const drain = `{"state":"drain"}`
	r.ask(404, "PATCH", "/edsservice/other/hosts/"+memberID.String(), drain)
	r.ask(404, "PATCH", "/edsservice/myservice/hosts/"+quarantined().ID.String(), drain)
	r.registry.members[0].Liveness = fleet.Dead
	r.ask(200, "PATCH", hostByID, drain)
	r.ask(204, "DELETE", hostByID, "")
	r.registry.members[0].Liveness = fleet.Left
	r.ask(404, "PATCH", hostByID, drain)
	r.registry.settled = false
	r.ask(503, "PATCH", "/edsservice/other/hosts/"+memberID.String(), drain)
}

func TestBadOverridesAreRefusedAndChangeNothing(t *testing.T) {
	r := newRig(t)
	for body, words := range map[string]string{
		``:                                       "the body",
		`[]`:                                     "the body is not an object",
		`null`:                                   "the body is not an object",
		`{}`:                                     "nothing is set",
		`{"reason":"x"}`:                         "nothing is set",
		`{"state":"off"}`:                        `state is "off"`,
		`{"state":""}`:                           "state is empty",
		`{"state":1}`:                            "state is not a string",
		`{"state":"drain","state":"force"}`:      "state is given twice",
		`{"load_balancing_weight":0}`:            "load_balancing_weight is 0",
		`{"load_balancing_weight":65536}`:        "load_balancing_weight is 65536",
		`{"load_balancing_weight":1.5}`:          "load_balancing_weight is not a whole number",
		`{"tags":[]}`:                            "tags is not an object",
		`{"tags":{"az":1}}`:                      "tags.az is not a string",
		`{"tags":{"canary":"yes"}}`:              "tags.canary is not true or false",
		`{"tags":{"load_balancing_weight":"1"}}`: "a field of its own",
		`{"tags":{"az":"a\u0000"}}`:              "unprintable",
		`{"state":"drain","expires_in":"soon"}`:  "expires_in is \"soon\"",
		`{"state":"drain","expires_in":"-1h"}`:   "expires_in",
		`{"state":"drain","expires_in":"0s"}`:    "expires_in",
		`{"state":"drain","expires_in":"400d"}`:  "at most 366d",
		`{"state":"drain","expires_in":5}`:       "expires_in is not a string",
		`{"state":"drain","reason":"a\nb"}`:      "reason",
		`{"state":"drain","actor":"me"}`:         "actor is not a field",
	} {
		r.wantProblem(t, r.do("PATCH", hostByID, body), 400, words)
	}
	const drain = `{"state":"drain"}`
	for path, words := range map[string]string{
		"":                         "neither a uuid",
		"web-1:80":                 "neither a uuid",
		"10.0.0.1":                 "neither a uuid",
		"10.0.0.1:0":               "port is 0",
		"0.0.0.0:80":               "every interface",
		"%5B::ffff:10.0.0.1%5D:80": "write 10.0.0.1",
		"10.0.0.1:80?for=1h":       "unknown parameter",
	} {
		r.wantProblem(t, r.do("PATCH", "/edsservice/myservice/hosts/"+path, drain), 400, words)
	}
	r.wantProblem(t, r.do("PATCH", "/edsservice/a%20b/hosts/10.0.0.1:80", drain), 400, "space")
	r.wantProblem(t, r.ask(400, "PATCH", hostByID, drain, "X-Rollcall-Actor", strings.Repeat("x", 300)), 400, "X-Rollcall-Actor")
	r.wantProblem(t, r.ask(415, "PATCH", hostByID, drain, "Content-Type", "text/plain"), 415, "merge-patch")
	for _, header := range []string{"x", `"x" "y"`, `"x`, `"x",`, "*,*"} {
		r.wantProblem(t, r.ask(400, "PATCH", hostByID, drain, "If-Match", header), 400, "If-Match")
	}
}

func TestIfMatchIsComparedWithTheCurrentTag(t *testing.T) {
	r := newRig(t)
	const drain, force = `{"state":"drain"}`, `{"state":"force"}`
	r.ask(412, "PATCH", hostByID, drain, "If-Match", `"x"`)
	first := r.ask(200, "PATCH", hostByID, drain, "If-Match", `"auto"`).header.Get("ETag")
	r.ask(412, "PATCH", hostByID, force, "If-Match", `"auto"`)
	r.ask(412, "PATCH", hostByID, force, "If-Match", "W/"+first)
	second := r.ask(200, "PATCH", hostByID, force, "If-Match", `"x", `+first).header.Get("ETag")
	r.ask(412, "DELETE", hostByID, "", "If-Match", first)
	r.ask(412, "PATCH", hostByID, `{"state":null}`, "If-Match", first)
	if got := r.ask(200, "GET", hostByID, "").header.Get("ETag"); got != second || first == second {
		t.Errorf("ETag %s, then %s, then %s", first, second, got)
	}
	r.ask(200, "PATCH", hostByID, drain, "If-Match", "*")
	r.ask(204, "DELETE", hostByID, "", "If-Match", "*")
	r.ask(412, "PATCH", "/edsservice/myservice/hosts/10.0.0.9:80", drain, "If-Match", "*")

	id := "/overrides/" + (override.Key{Service: "myservice", Host: memberID.String()}).ID()
	tag := r.ask(200, "PATCH", hostByID, drain).header.Get("ETag")
	if got := r.ask(200, "GET", id, "").header.Get("ETag"); got != tag {
		t.Errorf("the override has ETag %s, the host %s", got, tag)
	}
	r.ask(412, "DELETE", id, "", "If-Match", first)
	r.ask(204, "DELETE", id, "", "If-Match", tag)
	r.ask(404, "DELETE", id, "", "If-Match", "*")
}

func TestIfMatchOfAServiceCoversAllItsOverrides(t *testing.T) {
	r := newRig(t)
	const path, asJSON = "/edsservice/myservice", "application/json"
	send := func(want int, method, match string) string {
		return r.ask(want, method, path, payload, "Content-Type", asJSON, "If-Match", match).header.Get("ETag")
	}
	nothing := r.ask(200, "GET", path, "").header.Get("ETag")
	if nothing != `"auto"` {
		t.Errorf("while nothing is decided the ETag is %s", nothing)
	}
	send(412, "POST", `"x"`)
	listed := send(201, "POST", nothing)
	send(412, "PUT", nothing)
	r.ask(200, "PATCH", hostByID, `{"state":"drain"}`)
	send(412, "PUT", listed)
	pinned := send(200, "PUT", "*")
	if got := r.ask(200, "GET", path, "").header.Get("ETag"); got != pinned {
		t.Errorf("ETag %s, the answer to PUT had %s", got, pinned)
	}
	send(412, "DELETE", listed)
	send(204, "DELETE", pinned)
	r.ask(412, "POST", "/edsservice/new", payload, "Content-Type", asJSON, "If-Match", "*")
}

func TestPatchThatChangesNothingKeepsActorAndTime(t *testing.T) {
	r := newRig(t)
	first := r.ask(200, "PATCH", hostByID, `{"state":"drain","tags":{"az":"b"},"expires_in":"1h","reason":"disk"}`, "X-Rollcall-Actor", "ann")
	for _, same := range []string{`{}`, `{"state":"drain"}`, `{"tags":{}}`, `{"tags":{"az":"b","other":null},"reason":"disk","load_balancing_weight":null}`} {
		got := r.ask(200, "PATCH", hostByID, same, "X-Rollcall-Actor", "bob")
		if got.body != first.body || got.header.Get("ETag") != first.header.Get("ETag") {
			t.Errorf("after %s it is\n%s, before\n%s", same, got.body, first.body)
		}
	}
	if entries, err := r.store.Audit(time.Time{}, 10, ""); err != nil || len(entries) != 1 {
		t.Errorf("the audit has %+v, %v", entries, err)
	}
	r.ask(412, "PATCH", hostByID, `{}`, "If-Match", `"auto"`)
	for i, other := range []string{`{"expires_in":"2h"}`, `{"state":"exclude"}`, `{"reason":null}`, `{"tags":null}`, `{"load_balancing_weight":2}`} {
		r.ask(200, "PATCH", hostByID, other, "X-Rollcall-Actor", "bob")
		if entries, _ := r.store.Audit(time.Time{}, 10, ""); len(entries) != i+2 {
			t.Errorf("after %s the audit has %d entries", other, len(entries))
		}
	}
}

func TestPatchThatRevokesRecordsItsReason(t *testing.T) {
	for body, want := range map[string]string{`{"state":null,"reason":"b"}`: "b", `{"state":null}`: "", `{"state":null,"reason":null}`: ""} {
		r := newRig(t)
		r.ask(200, "PATCH", hostByID, `{"state":"drain","reason":"a"}`, "X-Rollcall-Actor", "ann")
		r.ask(200, "PATCH", hostByID, body, "X-Rollcall-Actor", "bob")
		entries, err := r.store.Audit(time.Time{}, 1, "")
		if err != nil || len(entries) != 1 || entries[0].Action != "revoked" || entries[0].Override.Actor != "bob" || entries[0].Override.Reason != want {
			t.Errorf("%s: the audit has %+v, %v, want it revoked by bob because %q", body, entries, err, want)
		}
		if list, _ := r.store.InForce(); len(list) > 0 {
			t.Errorf("%s: in force is %+v", body, list)
		}
	}
}

func TestListsExpireAndRecordWhy(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/edsservice/myservice?expires_in=90m&reason=more+power", payload)
	r.must(200, "PUT", "/edsservice/myservice?expires_in=2d&reason=less", payload)
	list, _ := r.store.InForce()
	if o := list[0]; o.Reason != "less" || o.Actor != "127.0.0.1" || o.Until.Sub(o.Since) != 48*time.Hour {
		t.Errorf("kept: %+v", o)
	}
	for _, query := range []string{"?expires_in=x", "?expires_in=", "?expire_in=1h", "?reason=a%00", "?reason=a&reason=b", "?expires_in=1h&expires_in=2h"} {
		r.must(400, "PUT", "/edsservice/myservice"+query, payload)
	}
	end := time.Now().Add(36 * time.Hour).UTC().Truncate(time.Millisecond)
	r.must(200, "PUT", "/edsservice/myservice?until="+end.Format(time.RFC3339Nano), payload)
	if list, _ = r.store.InForce(); !list[0].Until.Equal(end) || list[0].Reason != "" {
		t.Errorf("kept: %+v, want it to end at %s and without the reason of the list before", list[0], end)
	}
	for _, query := range []string{"?until=tomorrow", "?until=2026-01-02T15:04:05Z", "?until=2999-01-02T15:04:05Z", "?expires_in=1h&until=" + end.Format(time.RFC3339)} {
		if body := r.must(400, "PUT", "/edsservice/myservice"+query, payload).body; !strings.Contains(body, "until") {
			t.Errorf("%s: %s", query, body)
		}
	}
	r.must(400, "DELETE", "/edsservice/myservice?expires_in=1h", "")
	r.must(204, "DELETE", "/edsservice/myservice?reason=done", "")
	if entries, _ := r.store.Audit(time.Time{}, 1, ""); entries[0].Override.Reason != "done" {
		t.Errorf("the audit has %+v", entries)
	}
}

func TestLogShowsTheContentsOfAnOverride(t *testing.T) {
	r := newRig(t)
	var log bytes.Buffer
	r.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	h := New(r.opts)
	for _, step := range []struct{ method, path, body, want string }{
		{"PATCH", hostByID, `{"state":"drain"}`, "endpoint=" + memberID.String() + " state=drain actor=192.0.2.1\n"},
		{"PATCH", hostByID, `{"load_balancing_weight":5,"state":null,"expires_in":"1h","reason":"disk"}`, " weight=5 actor=192.0.2.1 reason=disk until=2"},
		{"DELETE", hostByID, "", "service=myservice endpoint=" + memberID.String() + " actor=192.0.2.1\n"},
		{"PUT", "/edsservice/myservice", payload, "service=myservice mode=pin endpoints=1 actor=192.0.2.1\n"},
		{"DELETE", "/edsservice/myservice?reason=done", "", "service=myservice actor=192.0.2.1 reason=done\n"},
	} {
		log.Reset()
		req := httptest.NewRequest(step.method, step.path, strings.NewReader(step.body))
		req.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), req)
		if !strings.Contains(log.String(), step.want) {
			t.Errorf("%s %s %s: the log has\n%s, want %s", step.method, step.path, step.body, &log, step.want)
		}
	}
}

// The tag of an override that an answer does not show would let it be overruled unseen.
func TestServiceHasNoTagWhileTheRegistryLags(t *testing.T) {
	r := newRig(t)
	r.registry.stale = r.registry.Snapshot()
	synctest.Test(t, func(t *testing.T) {
		if _, _, err := r.store.Edit(override.Edit{
			Key:    override.Key{Service: "myservice", Host: memberID.String()},
			Change: func(o override.Override, _ bool) (override.Override, error) { o.State = override.Drain; return o, nil },
		}); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		New(r.opts).ServeHTTP(w, httptest.NewRequest("GET", "/edsservice/myservice", http.NoBody))
		if w.Code != http.StatusOK || w.Header().Get("ETag") != "" {
			t.Errorf("%d, ETag %s", w.Code, w.Header().Get("ETag"))
		}
	})
}
