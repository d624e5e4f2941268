package xds

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apiv2 "github.com/envoyproxy/go-control-plane/envoy/api/v2"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// post polls as from one address and returns the answer.
func post(serve http.HandlerFunc, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5000"
	if len(header) > 0 {
		r.Header.Set("Content-Type", header[0])
	}
	w := httptest.NewRecorder()
	serve(w, r)
	return w
}

// poll is the request that a 2018 Envoy sends.
func pollBody(version string, names ...string) string {
	b, _ := json.Marshal(map[string]any{
		"node": map[string]any{"id": "envoy-1", "cluster": "test"}, "resource_names": names, "version_info": version,
	})
	return string(b)
}

func decodeV3(t *testing.T, w *httptest.ResponseRecorder) (version string, clas []*endpointv3.ClusterLoadAssignment) {
	t.Helper()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %v: %s", w.Code, w.Header(), w.Body)
	}
	var resp discoveryv3.DiscoveryResponse
	must(t, protojson.Unmarshal(w.Body.Bytes(), &resp))
	if resp.GetTypeUrl() != typeV3 {
		t.Errorf("type_url is %q", resp.GetTypeUrl())
	}
	for _, res := range resp.GetResources() {
		var cla endpointv3.ClusterLoadAssignment
		must(t, res.UnmarshalTo(&cla))
		clas = append(clas, &cla)
	}
	return resp.GetVersionInfo(), clas
}

func TestRESTAnswersTheNamesAskedWithCurrentContent(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(service("api", hostC), varied()))
	version, clas := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
	if len(clas) != 1 || !proto.Equal(clas[0], loadAssignment("web", staying(varied().Hosts))) {
		t.Fatalf("answered %v", clas)
	}
	s.Update(settled(service("api", hostA), varied()))
	if w := post(s.ServeRESTv3, pollBody(version, "web")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("nothing about it changed, and the answer is %d %s", w.Code, w.Body)
	}
	s.Update(settled(service("api", hostA)))
	moved, clas := decodeV3(t, post(s.ServeRESTv3, pollBody(version, "web")))
	if moved == version || len(clas) != 1 || clas[0].GetClusterName() != "web" || len(clas[0].GetEndpoints()) != 0 {
		t.Errorf("the service went, and the answer is %s %v", moved, clas)
	}
}

func TestRESTAnswersSeveralNamesAndUnknownOnes(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(service("api", hostC), service("web", hostA)))
	version, clas := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web", "nobody", "api", "web")))
	var names []string
	for _, cla := range clas {
		names = append(names, cla.GetClusterName())
	}
	if got := strings.Join(names, " "); got != "api nobody web" {
		t.Errorf("answered %q", got)
	}
	if w := post(s.ServeRESTv3, pollBody(version, "api", "web", "nobody")); w.Code != http.StatusNotModified {
		t.Errorf("the same names in another order: %d", w.Code)
	}
	if w := post(s.ServeRESTv3, pollBody(version, "api", "web")); w.Code != http.StatusOK {
		t.Errorf("fewer names: %d", w.Code)
	}
}

func TestRESTAndGRPCSendTheSameVersion(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
	c := openEDS(t, s.conn)
	c.subscribe("web")
	if r := next(t, c, "1", "web: "+hostA); r.version != version {
		t.Errorf("gRPC says %s, REST %s", r.version, version)
	}
}

func TestRESTv2IsReadByAnOldEnvoy(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(varied()))
	w := post(s.ServeRESTv2, `{"node":{"id":"envoy-1","cluster":"test","build_version":"abc/1.6.0/Clean/RELEASE"},"resource_names":["web"]}`)
	var resp apiv2.DiscoveryResponse
	must(t, protojson.Unmarshal(w.Body.Bytes(), &resp)) // strict: a field that v2 does not have is an error
	var old apiv2.ClusterLoadAssignment
	must(t, resp.GetResources()[0].UnmarshalTo(&old))
	must(t, old.ValidateAll())
	var back endpointv3.ClusterLoadAssignment
	b, err := proto.Marshal(&old)
	must(t, err)
	must(t, proto.Unmarshal(b, &back))
	if !proto.Equal(&back, loadAssignment("web", staying(varied().Hosts))) || resp.GetTypeUrl() != typeV2 {
		t.Errorf("answered %s", w.Body)
	}
	if w := post(s.ServeRESTv2, pollBody(resp.GetVersionInfo(), "web")); w.Code != http.StatusNotModified {
		t.Errorf("nothing changed, and the answer is %d", w.Code)
	}
	if w := post(s.ServeRESTv2, `{"type_url":"`+typeV2+`","resource_names":["web"]}`); w.Code != http.StatusOK {
		t.Errorf("with its type URL: %d", w.Code)
	}
}

// rejected is a poll that rejects the answer before, with these details.
func rejected(details string) string {
	return `{"node":{"id":"envoy-1"},"resource_names":["web"],"error_detail":{"code":3,"message":"no","details":` + details + `}}`
}

func TestRESTRefusals(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(service("web", hostA)))
	many := make([]string, maxPollNames+1)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	cases := []struct {
		name, body, contentType string
		status                  int
		says                    string
	}{
		{"not JSON", "hello", "", 400, "not a DiscoveryRequest"},
		{"empty", "", "", 400, "not a DiscoveryRequest"},
		{"a list", "[]", "", 400, "not a DiscoveryRequest"},
		{"wrong field type", `{"resource_names":"web"}`, "", 400, "not a DiscoveryRequest"},
		{"something after it", pollBody("", "web") + "{}", "", 400, "not a DiscoveryRequest"},
		{"no names", `{"node":{"id":"a"}}`, "", 400, "resource_names is empty"},
		{"empty name", pollBody("", ""), "", 400, "name is empty"},
		{"wildcard", pollBody("", "*"), "", 400, "wildcard"},
		{"long name", pollBody("", strings.Repeat("x", maxNameLen+1)), "", 400, "bytes long"},
		{"many names", pollBody("", many...), "", 400, "at most"},
		{"another type", `{"type_url":"type.googleapis.com/envoy.config.cluster.v3.Cluster","resource_names":["web"]}`, "", 400, "type_url"},
		{"another version's type", `{"type_url":"` + typeV2 + `","resource_names":["web"]}`, "", 400, "type_url"},
		{"a form", pollBody("", "web"), "application/x-www-form-urlencoded", 415, "content type"},
		{"no media type", pollBody("", "web"), ";", 415, "content type"},
		{"large", `{"resource_names":["` + strings.Repeat("x", maxBody) + `"]}`, "", 413, "larger than"},
		{"JSON with a character set", pollBody("", "web"), "application/json; charset=utf-8", 200, ""},
		{"fields of a later Envoy", `{"resource_names":["web"],"of_tomorrow":{"x":[1]},"node":{"id":"a","also":1}}`, "", 200, ""},
		{"an error_detail of unknown type", rejected(`[{"@type":"type.googleapis.com/of.tomorrow.Error","why":{"x":[1]}}]`), "", 200, ""},
		{"an error_detail of known type with other fields", rejected(`[{"@type":"` + typeV3 + `","cluster_name":[1]}]`), "", 200, ""},
		{"an error_detail of a wrapped type", rejected(`[{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}]`), "", 200, ""},
		{"an error_detail without a type", rejected(`[{"why":"x"},{}]`), "", 200, ""},
		{"a node with all that Envoy says", `{"resource_names":["web"],"node":{"id":"a","metadata":{"x":[1,null,{}]},"locality":{"zone":"a"},` +
			`"dynamic_parameters":{"t":{"params":{"a":"b"}}},"user_agent_build_version":{"version":{"major_number":1},"metadata":{"ssl":"x"}},` +
			`"extensions":[{"name":"x","category":"y","type_urls":["z"],"version":{},"type_descriptor":"q"}],"client_features":["a"],` +
			`"listening_addresses":[{"socket_address":{"address":"::","port_value":1}}]}}`, "", 200, ""},
		{"camel case", `{"resourceNames":["web"],"versionInfo":""}`, "", 200, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.contentType != "" {
				header = append(header, c.contentType)
			}
			w := post(s.ServeRESTv3, c.body, header...)
			if w.Code != c.status {
				t.Fatalf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if c.status != 200 {
				problemSays(t, w, c.says)
			}
		})
	}
}

func problemSays(t *testing.T, w *httptest.ResponseRecorder, what string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	must(t, json.Unmarshal(w.Body.Bytes(), &p))
	if w.Header().Get("Content-Type") != "application/problem+json" || p.Status != w.Code || p.Title == "" || p.Type != "about:blank" || !strings.Contains(p.Detail, what) {
		t.Errorf("%v %+v does not say %q", w.Header(), p, what)
	}
}

func TestRESTIsUnavailableUntilSettled(t *testing.T) {
	s := abrupt(Options{})
	s.Update(unsettled(service("web", hostA)))
	for name, w := range map[string]*httptest.ResponseRecorder{
		"v3": post(s.ServeRESTv3, pollBody("", "web")),
		"v2": post(s.ServeRESTv2, pollBody("", "web")),
		"v1": register1(s, "web"),
	} {
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: status %d, %v", name, w.Code, w.Header())
		}
		problemSays(t, w, "gossip has not settled")
	}
}

func register1(s *Server, service string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeRegistration(w, httptest.NewRequest(http.MethodGet, "/v1/registration/x", nil), service)
	return w
}

func TestRegistration(t *testing.T) {
	s := abrupt(Options{})
	v := varied()
	v.Hosts = v.Hosts[:2]
	s.Update(settled(v))
	cases := map[string]string{
		"web": `{"hosts":[{"ip_address":"10.0.0.1","port":80,"tags":{"az":"us-b","canary":true,"load_balancing_weight":50}},` +
			`{"ip_address":"10.0.0.2","port":80,"tags":{"az":"us-a","canary":false,"load_balancing_weight":1}}]}`,
		"nobody": `{"hosts":[]}`,
		"\xff":   `{"hosts":[]}`,
	}
	for name, want := range cases {
		w := register1(s, name)
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestRESTClientIsListedByItsPolls(t *testing.T) {
	s := abrupt(Options{})
	s.Update(settled(service("web", hostA)))
	version, _ := decodeV3(t, post(s.ServeRESTv3, pollBody("", "web")))
	post(s.ServeRESTv3, pollBody(version, "web"))
	list := s.Clients()
	if len(list) != 1 {
		t.Fatalf("%d clients: %+v", len(list), list)
	}
	c := list[0]
	if c.Node != "envoy-1" || c.Transport != TransportREST || c.Peer != "127.0.0.1:5000" {
		t.Errorf("the client is %+v", c)
	}
	if got := c.Services[0]; got != (ClientService{Name: "web", Sent: version, Acked: version, AckedSeq: s.cache.seq}) {
		t.Errorf("it is at %+v", got)
	}
	post(s.ServeRESTv2, pollBody("", "web"))
	post(s.ServeRESTv3, `{"node":{"id":"envoy-2"},"resource_names":["web"],"error_detail":{"message":"no"}}`)
	list = s.Clients()
	if len(list) != 3 || list[1].Transport != TransportRESTv2 || list[2].NACK == nil || list[2].NACK.Detail != "no" {
		t.Errorf("the clients are %+v", list)
	}
}

func TestRESTClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := abrupt(Options{MaxClients: 4}) // half of them may poll
		s.Update(settled())
		for _, c := range []struct {
			name string
			want int
		}{{"a", 200}, {"b", 200}, {"c", 503}, {"a", 200}} {
			if w := post(s.ServeRESTv3, pollBody("", c.name)); w.Code != c.want {
				t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
			}
		}
		time.Sleep(2 * minPollLife)
		if w := post(s.ServeRESTv3, pollBody("", "c")); w.Code != 200 {
			t.Errorf("after the others were gone: %d", w.Code)
		}
	})
}

func TestPollsAreLoggedOnceAndRepeatsAtDebug(t *testing.T) {
	var log lines
	s := abrupt(Options{Logger: log.logger()})
	s.Update(settled())
	for range 3 {
		post(s.ServeRESTv3, pollBody("x", "web"))
	}
	post(s.ServeRESTv3, pollBody("y", "web"))
	if info, debug := log.with("level=INFO", "says=poll", "node=envoy-1", "transport=rest"), log.with("level=DEBUG", "says=poll"); len(info) != 2 || len(debug) != 2 {
		t.Errorf("logged %q and at debug level %q", info, debug)
	}
}

func FuzzRESTv3(f *testing.F) { fuzzPoll(f, typeV3) }
func FuzzRESTv2(f *testing.F) { fuzzPoll(f, typeV2) }

// fuzzPoll checks that the decoder returns what the rest of the code relies on, and that
// all answers are JSON.
func fuzzPoll(f *testing.F, typeURL string) {
	for _, seed := range []string{
		pollBody("", "web"), pollBody("x", "a", "b", "a"), pollBody("", "*"), pollBody("", ""),
		`{"type_url":"` + typeV3 + `","resourceNames":["web"]}`, `{"type_url":"` + typeV2 + `","resource_names":["web"]}`,
		`{"error_detail":{"details":[{"@type":"x"}]},"resource_names":["web"]}`, `{"resource_names":["\ud800"]}`,
		`{"node":{"id":"e"},"resource_names":["mine"]}`, `{"resource_names":["mine","other"],"version_info":"x"}`, `{}`, `[]`, "\xff",
		`{"node":{"metadata":{"a":{"b":[1,null]}}},"resource_names":["mine"],"error_detail":{"message":"no"}}`,
		`{"node":{"metadata":{"a":[{}]}},"resource_names":["<\u0000>"]}`, `[`, ``, `null`, `{"x":` + strings.Repeat("[", 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := abrupt(Options{})
		s.Update(settled(service("web", hostA)))
		serve, req, err := s.ServeRESTv3, (*discoveryv3.DiscoveryRequest)(nil), error(nil)
		if typeURL == typeV2 {
			serve = s.ServeRESTv2
		}
		w := post(serve, string(body))
		switch w.Code {
		case http.StatusOK, http.StatusNotModified, http.StatusBadRequest, http.StatusServiceUnavailable:
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) && w.Code != http.StatusNotModified {
			t.Errorf("%d and not JSON: %s", w.Code, w.Body)
		}
		if req, err = decodePoll(body, typeURL); err != nil {
			if w.Code == http.StatusOK {
				t.Errorf("refused with %v, answered 200", err)
			}
			return
		}
		if n := len(req.GetResourceNames()); n == 0 || n > maxPollNames {
			t.Errorf("%d names", n)
		}
		if u := req.GetTypeUrl(); u != "" && u != typeURL {
			t.Errorf("type URL %q", u)
		}
		if w.Code != http.StatusOK && w.Code != http.StatusNotModified {
			t.Errorf("accepted, and answered %d", w.Code)
		}
	})
}

// A name takes 3 bytes of a body.
func TestNoPollTakesManyTimesItsBytes(t *testing.T) {
	names := strings.TrimSuffix(strings.Repeat(`"",`, 300_000), ",")
	for _, field := range []string{"resource_names", "resourceNames"} {
		body := []byte(`{"` + field + `":[` + names + `]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodePoll(body, typeV3)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "at most 100") {
			t.Errorf("%s: %v", field, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 3*uint64(len(body)) {
			t.Errorf("%s: %d bytes are read for %d", field, got, len(body))
		}
	}
	for body, want := range map[string]int{
		`{"resource_names":["b","a","b"]}`: 2, `{"resource_names":null,"resourceNames":["a"]}`: 1,
		`{"resource_names":["` + strings.Repeat(`a","`, 500) + `b"]}`: 2,
	} {
		if req, err := decodePoll([]byte(body), typeV3); err != nil || len(req.GetResourceNames()) != want {
			t.Errorf("%.60s: %v, %v", body, req.GetResourceNames(), err)
		}
	}
	for _, body := range []string{`{"resource_names":"a"}`, `{"resource_names":[1]}`, `{"resource_names":{"a":1}}`} {
		if _, err := decodePoll([]byte(body), typeV3); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}
