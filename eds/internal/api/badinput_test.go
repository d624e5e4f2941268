package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/eds/internal/problem"
)

func host(fields string) string {
	return `{"hosts":[{"ip_address":"10.0.0.1","port":80},{` + fields + `}]}`
}

// badBodies are what POST and PUT refuse; each answer's detail must hold the words.
var badBodies = []struct{ name, body, words string }{
	{"empty body", ``, "not"},
	{"not JSON", `hosts: []`, "the body is not JSON"},
	{"cut short", `{"hosts":[`, "the body is not JSON"},
	{"trailing data", payload + `{}`, "the body is not JSON"},
	{"an array", `[]`, "the body is not an object"},
	{"a string", `"hosts"`, "the body is not an object"},
	{"null", `null`, "hosts is missing"},
	{"hosts missing", `{}`, "hosts is missing"},
	{"hosts null", `{"hosts":null}`, "hosts is missing"},
	{"hosts an object", `{"hosts":{}}`, "hosts is not a list"},
	{"hosts in capitals", `{"Hosts":[]}`, "Hosts is not a field"},
	{"hosts twice", `{"hosts":[],"hosts":[]}`, "hosts is given twice"},
	{"unknown field", `{"hosts":[],"mode":"pin"}`, "mode is not a field"},
	{"unknown field of a host", host(`"ip_address":"10.0.0.2","port":80,"id":"x"`), "hosts[1].id is not a field"},
	{"a host that is null", `{"hosts":[null]}`, "hosts[0].ip_address is missing"},
	{"a host that is a string", `{"hosts":["10.0.0.1:80"]}`, "hosts[0] is not an object"},
	{"no ip", host(`"port":80`), "hosts[1].ip_address is missing"},
	{"ip a host name", host(`"ip_address":"web-1.example","port":80`), "hosts[1].ip_address"},
	{"ip with port", host(`"ip_address":"10.0.0.2:80","port":80`), "hosts[1].ip_address"},
	{"ip empty", host(`"ip_address":"","port":80`), "hosts[1].ip_address"},
	{"ip a number", host(`"ip_address":10,"port":80`), "hosts[1].ip_address is not a string"},
	{"ip unspecified", host(`"ip_address":"0.0.0.0","port":80`), "hosts[1].ip_address"},
	{"ip multicast", host(`"ip_address":"224.0.0.1","port":80`), "hosts[1].ip_address"},
	{"ip with a zone", host(`"ip_address":"fe80::1%eth0","port":80`), "hosts[1].ip_address"},
	{"no port", host(`"ip_address":"10.0.0.2"`), "hosts[1].port is missing"},
	{"port 0", host(`"ip_address":"10.0.0.2","port":0`), "hosts[1].port is 0"},
	{"port 65536", host(`"ip_address":"10.0.0.2","port":65536`), "hosts[1].port is 65536"},
	{"port negative", host(`"ip_address":"10.0.0.2","port":-1`), "hosts[1].port is -1"},
	{"port huge", host(`"ip_address":"10.0.0.2","port":1e99`), "hosts[1].port is not a whole number"},
	{"port a string", host(`"ip_address":"10.0.0.2","port":"80"`), "hosts[1].port is not a whole number"},
	{"port a fraction", host(`"ip_address":"10.0.0.2","port":80.5`), "hosts[1].port is not a whole number"},
	{"weight 0", host(`"ip_address":"10.0.0.2","port":80,"tags":{"load_balancing_weight":0}`), "hosts[1].tags.load_balancing_weight is 0"},
	{"weight 65536", host(`"ip_address":"10.0.0.2","port":80,"tags":{"load_balancing_weight":65536}`), "hosts[1].tags.load_balancing_weight is 65536"},
	{"weight beyond 32 bits", host(`"ip_address":"10.0.0.2","port":80,"tags":{"load_balancing_weight":4294967297}`), "hosts[1].tags.load_balancing_weight"},
	{"tags a list", host(`"ip_address":"10.0.0.2","port":80,"tags":[]`), "hosts[1].tags is not an object"},
	{"canary a string", host(`"ip_address":"10.0.0.2","port":80,"tags":{"canary":"yes"}`), "hosts[1].tags.canary is not true or false"},
	{"probe a string", host(`"ip_address":"10.0.0.2","port":80,"probe":"yes"`), "hosts[1].probe is not true or false"},
	{"a tag that is a number", host(`"ip_address":"10.0.0.2","port":80,"tags":{"wieght":5}`), "hosts[1].tags.wieght is not a string"},
	{"a tag without a name", host(`"ip_address":"10.0.0.2","port":80,"tags":{"":"x"}`), "hosts[1]: a tag has an empty name"},
	{"az unprintable", host(`"ip_address":"10.0.0.2","port":80,"tags":{"az":"\u0000"}`), "hosts[1]: az"},
	{"not UTF-8", "{\"hosts\":[{\"ip_address\":\"\xff\",\"port\":80}]}", "the body is not JSON"},
	{"duplicate address", host(`"ip_address":"10.0.0.1","port":80`), "hosts[1]: address 10.0.0.1:80 is already hosts[0]"},
	{"too many hosts", manyHosts(10_001), "hosts has 10001 entries"},
}

func manyHosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"ip_address":"10.0.%d.%d","port":80}`, i/256, i%256)
	}
	return `{"hosts":[` + b.String()[1:] + `]}`
}

// wantProblem checks a refusal: its status, its form, and that nothing changed.
func (r *rig) wantProblem(t *testing.T, got reply, status int, words string) {
	t.Helper()
	var p problem.Problem
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		t.Fatalf("status %d, not a problem document: %q", got.status, got.body)
	}
	if got.status != status || p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" {
		t.Errorf("status %d, want %d: %s", got.status, status, got.body)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/problem+json" || !strings.HasSuffix(got.body, "}\n") {
		t.Errorf("content type %q, body %q", ct, got.body)
	}
	if !strings.Contains(p.Detail, words) {
		t.Errorf("detail %q lacks %q", p.Detail, words)
	}
	if list, revision := r.store.InForce(); len(list) != 0 || revision != 0 {
		t.Fatalf("the store changed: %+v", list)
	}
}

func TestBadBodiesAreRefusedAndChangeNothing(t *testing.T) {
	r := newRig(t)
	for _, tt := range badBodies {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				r.wantProblem(t, r.do(method, "/edsservice/myservice", tt.body), 400, tt.words)
			})
		}
	}
	t.Run("nobody to merge", func(t *testing.T) {
		r.wantProblem(t, r.do("POST", "/edsservice/myservice", `{"hosts":[]}`), 400, "hosts is empty")
	})
}

func TestBodyOver1MiBIsRefused(t *testing.T) {
	r := newRig(t)
	for name, body := range map[string]string{
		"2 MiB of hosts": `{"hosts":[` + strings.Repeat(" ", 2<<20) + `]}`,
		"2 MiB of noise": strings.Repeat("x", 2<<20),
		"1 MiB and 1":    strings.Repeat(" ", maxBody-len(payload)+1) + payload,
	} {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				r.wantProblem(t, r.do(method, "/edsservice/myservice", body), 413, "1048576 bytes")
			})
		}
	}
	r.must(201, "POST", "/edsservice/myservice", strings.Repeat(" ", maxBody-len(payload))+payload)
}

func TestOtherContentTypesAreRefused(t *testing.T) {
	r := newRig(t)
	send := func(method, contentType string) reply {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/edsservice/myservice", strings.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		return r.send(req)
	}
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/json; charset", ";"} {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(method+" "+contentType, func(t *testing.T) { r.wantProblem(t, send(method, contentType), 415, "application/json") })
		}
	}
	if got := send("POST", "Application/JSON; charset=utf-8"); got.status != 201 {
		t.Errorf("status %d with a charset", got.status)
	}
}

func TestWrongMethodAnswersWithTheAllowedOnes(t *testing.T) {
	r := newRig(t)
	for path, allow := range map[string]string{
		"/overrides":                "GET, HEAD",
		"/overrides/x":              "GET, HEAD, DELETE",
		"/audit":                    "GET, HEAD",
		"/events":                   "GET",
		"/":                         "GET, HEAD",
		"/edsservice":               "GET, HEAD",
		"/edsservice/myservice":     "GET, HEAD, POST, PUT, DELETE",
		"/members":                  "GET, HEAD",
		"/clients":                  "GET, HEAD",
		"/healthz":                  "GET, HEAD",
		"/readyz":                   "GET, HEAD",
		"/metrics":                  "GET, HEAD",
		"/openapi.yaml":             "GET, HEAD",
		"/console/console.js":       "GET, HEAD",
		"/v1/registration/x":        "GET, HEAD",
		"/v2/discovery:endpoints":   "POST",
		"/v3/discovery:endpoints":   "POST",
		"/v3/discovery%3Aendpoints": "", // UseEncodedPath: another path
	} {
		got := r.do("PATCH", path, payload)
		if allow == "" {
			r.wantProblem(t, got, 404, path[:4])
			continue
		}
		r.wantProblem(t, got, 405, allow)
		if got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow is %q, want %q", path, got.header.Get("Allow"), allow)
		}
	}
	r.wantProblem(t, r.do("GET", "/v3/discovery:endpoints", ""), 405, "POST")
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/nothing", "/edsservices", "/members/", "/console/", "/v1/registration", "//", "/../members"} {
		r.wantProblem(t, r.do("GET", path, ""), 404, "no such path")
	}
}

func TestBadServiceNamesAreRefused(t *testing.T) {
	r := newRig(t)
	for path, words := range map[string]string{
		"/":                            "empty",
		"/a/b":                         "slash",
		"/a%2Fb":                       "slash",
		"//":                           "slash",
		"/a/":                          "slash",
		"/..%2fmembers":                "slash",
		"/..":                          "relative path",
		"/%00":                         "unprintable",
		"/a%20b":                       "space",
		"/a%0Ab":                       "unprintable",
		"/%ff":                         "unprintable",
		"/*":                           "wildcard",
		"/" + strings.Repeat("a", 201): "201 bytes",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			t.Run(method+path, func(t *testing.T) { r.wantProblem(t, r.do(method, "/edsservice"+path, payload), 400, words) })
		}
		r.wantProblem(t, r.do("GET", "/v1/registration"+path, ""), 400, words)
	}
	r.must(201, "POST", "/edsservice/"+strings.Repeat("a", 200), payload)
}
