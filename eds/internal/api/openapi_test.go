package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

func loadDocument(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentIsValidOpenAPI(t *testing.T) {
	if err := loadDocument(t).Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// The console's pages are for people, and HEAD goes without saying beside GET.
func TestDocumentAndTheRouterHaveTheSameRoutes(t *testing.T) {
	var routed, documented []string
	pattern := regexp.MustCompile(`\{(\w+):[^}]*\}`)
	err := newRouter(newRig(t).opts).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if err != nil {
			return err
		}
		for _, method := range methods {
			if path != "/" && !strings.HasPrefix(path, "/console/") && method != http.MethodHead {
				routed = append(routed, method+" "+pattern.ReplaceAllString(path, "{$1}"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range loadDocument(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if !slices.Equal(routed, documented) {
		t.Errorf("routed:\n%s\ndocumented:\n%s", strings.Join(routed, "\n"), strings.Join(documented, "\n"))
	}
}

// answers asks for something and expects a status.
type answers struct {
	status             int
	method, path, body string
}

func TestAnswersHaveTheFormInTheDocument(t *testing.T) {
	r := newRig(t)
	check := r.form()
	const poll = `{"node":{"id":"n"},"resource_names":["myservice"]}`
	tooLong := strings.Repeat(" ", 2<<20)
	for _, step := range []answers{
		{200, "GET", "/edsservice", ""},
		{200, "GET", "/edsservice/myservice", ""},
		{404, "GET", "/edsservice/unknown", ""},
		{201, "POST", "/edsservice/myservice", payload},
		{409, "POST", "/edsservice/myservice", payload},
		{400, "POST", "/edsservice/myservice", `{}`},
		{413, "POST", "/edsservice/myservice", tooLong},
		{200, "GET", "/edsservice/myservice", ""},
		{200, "GET", "/edsservice", ""},
		{200, "PUT", "/edsservice/myservice", payload},
		{200, "PUT", "/edsservice/myservice", `{"hosts":[]}`},
		{200, "PUT", "/edsservice/myservice?reason=why&until=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339), payload},
		{404, "PUT", "/edsservice/unknown", payload},
		{400, "PUT", "/edsservice/myservice", `{}`},
		{413, "PUT", "/edsservice/myservice", tooLong},
		{200, "PATCH", hostByID, `{"state":"drain","tags":{"az":"x","canary":true},"expires_in":"1h","reason":"why"}`},
		{200, "PATCH", "/edsservice/myservice/hosts/10.0.0.9:80", `{"load_balancing_weight":5}`},
		{400, "PATCH", hostByID, `{"state":"off"}`},
		{413, "PATCH", hostByID, tooLong},
		{404, "PATCH", "/edsservice/other/hosts/" + memberID.String(), `{"state":"drain"}`},
		{200, "GET", hostByID, ""},
		{400, "GET", "/edsservice/myservice/hosts/x", ""},
		{404, "GET", "/edsservice/myservice/hosts/10.0.0.8:80", ""},
		{200, "GET", "/edsservice/myservice", ""},
		{200, "GET", "/overrides", ""},
		{400, "GET", "/overrides?host=x", ""},
		{200, "GET", "/overrides/" + (override.Key{Service: "myservice"}).ID(), ""},
		{404, "GET", "/overrides/0000000000000000", ""},
		{204, "DELETE", "/overrides/" + (override.Key{Service: "myservice", Host: "10.0.0.9:80"}).ID(), ""},
		{404, "DELETE", "/overrides/0000000000000000", ""},
		{204, "DELETE", hostByID, ""},
		{404, "DELETE", hostByID, ""},
		{200, "GET", "/audit?since=24h&limit=3", ""},
		{400, "GET", "/audit?since=yesterday", ""},
		{204, "DELETE", "/edsservice/myservice", ""},
		{404, "DELETE", "/edsservice/myservice", ""},
		{200, "GET", "/guards", ""},
		{404, "DELETE", "/guards/myservice", ""},
		{200, "GET", "/members", ""},
		{200, "POST", "/v3/discovery:endpoints", poll},
		{400, "POST", "/v3/discovery:endpoints", `{`},
		{413, "POST", "/v3/discovery:endpoints", tooLong},
		{200, "POST", "/v2/discovery:endpoints", poll},
		{400, "POST", "/v2/discovery:endpoints", `{`},
		{413, "POST", "/v2/discovery:endpoints", tooLong},
		{200, "GET", "/v1/registration/myservice", ""},
		{200, "GET", "/v1/registration/unknown", ""},
		{200, "GET", "/clients", ""},
		{200, "GET", "/healthz", ""},
		{200, "GET", "/readyz", ""},
		{200, "GET", "/metrics", ""},
		{200, "GET", "/openapi.yaml", ""},
	} {
		check(step)
	}
	var polled struct {
		Version string `json:"version_info"`
	}
	if err := json.Unmarshal([]byte(r.must(200, "POST", "/v3/discovery:endpoints", poll).body), &polled); err != nil {
		t.Fatal(err)
	}
	again := fmt.Sprintf(`{"version_info":%q,%s`, polled.Version, poll[1:])
	check(answers{304, "POST", "/v3/discovery:endpoints", again})
	check(answers{304, "POST", "/v2/discovery:endpoints", again})
}

func TestAnswersHaveTheFormInTheDocumentBeforeGossipHasSettled(t *testing.T) {
	r := newRig(t)
	r.registry.settled = false
	r.discovery.Update(r.registry.Snapshot())
	check := r.form()
	const poll = `{"node":{"id":"n"},"resource_names":["myservice"]}`
	for _, step := range []answers{
		{503, "GET", "/readyz", ""},
		{503, "GET", "/edsservice/unknown", ""},
		{503, "PUT", "/edsservice/unknown", payload},
		{503, "PATCH", "/edsservice/myservice/hosts/00000000-0000-4000-8000-000000000000", `{"state":"drain"}`},
		{503, "POST", "/v3/discovery:endpoints", poll},
		{503, "POST", "/v2/discovery:endpoints", poll},
		{503, "GET", "/v1/registration/myservice", ""},
	} {
		check(step)
	}
}

// form returns a check of an answer's status, and of its body and headers against
// the document; of the request too where it succeeds.
func (r *rig) form() func(answers) {
	doc := loadDocument(r.TB)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		r.Fatal(err)
	}
	return func(step answers) {
		r.Helper()
		got := r.must(step.status, step.method, step.path, step.body)
		req, err := http.NewRequestWithContext(r.Context(), step.method, step.path, strings.NewReader(step.body))
		if err != nil {
			r.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		conforms(r.TB, router, req, got)
	}
}

// conforms checks an answer against the document, and the request where it succeeds.
func conforms(t testing.TB, router routers.Router, req *http.Request, got reply) {
	t.Helper()
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	asked := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if err := openapi3filter.ValidateRequest(t.Context(), asked); err != nil && got.status < 300 {
		t.Errorf("%s %s is answered %d, and the document forbids it: %v", req.Method, req.URL, got.status, err)
	}
	for name := range req.URL.Query() {
		if got.status < 300 && route.Operation.Parameters.GetByInAndName("query", name) == nil {
			t.Errorf("%s %s is answered %d, and the document has no parameter %s", req.Method, req.URL, got.status, name)
		}
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: asked, Status: got.status, Header: got.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), input.SetBodyBytes([]byte(got.body))); err != nil {
		t.Errorf("%s %s answers %d %s: %v", req.Method, req.URL, got.status, got.body, err)
	}
}

// What the document gives as the example is what the console sends.
func TestExampleIsAccepted(t *testing.T) {
	doc := loadDocument(t)
	example, err := json.Marshal(doc.Components.RequestBodies["HostList"].Value.Content["application/json"].Example)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.must(201, "POST", "/edsservice/myservice", string(example))
	r.must(200, "PUT", "/edsservice/myservice", string(example))
}
