package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/gorilla/mux"
)

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	if err := loadDocument(t).Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// The console's pages are for people, and HEAD goes without saying beside GET.
func TestTheDocumentAndTheRouterHaveTheSameRoutes(t *testing.T) {
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

// Every status that the document promises is brought about, and each answer has
// the form that the document gives it.
func TestAnswersHaveTheFormInTheDocument(t *testing.T) {
	doc := loadDocument(t)
	doc.Servers = nil
	find, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	const poll = `{"node":{"id":"n"},"resource_names":["myservice"]}`
	steps := []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/edsservice", "", 200},
		{"GET", "/edsservice/myservice", "", 200},
		{"GET", "/edsservice/unknown", "", 404},
		{"POST", "/edsservice/myservice", payload, 201},
		{"POST", "/edsservice/myservice", payload, 409},
		{"POST", "/edsservice/myservice", `{}`, 400},
		{"POST", "/edsservice/myservice", strings.Repeat(" ", 2<<20), 413},
		{"GET", "/edsservice/myservice", "", 200},
		{"GET", "/edsservice", "", 200},
		{"PUT", "/edsservice/myservice", payload, 200},
		{"PUT", "/edsservice/myservice", `{"hosts":[]}`, 200},
		{"PUT", "/edsservice/unknown", payload, 404},
		{"PUT", "/edsservice/myservice", `{}`, 400},
		{"DELETE", "/edsservice/myservice", "", 204},
		{"DELETE", "/edsservice/myservice", "", 404},
		{"GET", "/members", "", 200},
		{"GET", "/clients", "", 200},
		{"POST", "/v3/discovery:endpoints", poll, 200},
		{"POST", "/v3/discovery:endpoints", `{`, 400},
		{"POST", "/v2/discovery:endpoints", poll, 200},
		{"POST", "/v2/discovery:endpoints", `{`, 400},
		{"GET", "/v1/registration/myservice", "", 200},
		{"GET", "/healthz", "", 200},
		{"GET", "/readyz", "", 200},
		{"GET", "/metrics", "", 200},
		{"GET", "/openapi.yaml", "", 200},
	}
	for _, step := range steps {
		got := r.must(step.status, step.method, step.path, step.body)
		req, err := http.NewRequestWithContext(t.Context(), step.method, step.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		route, params, err := find.FindRoute(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := conforms(t, req, route, params, got); err != nil {
			t.Errorf("%s %s answers %d %s: %v", step.method, step.path, got.status, got.body, err)
		}
	}
}

func conforms(t *testing.T, req *http.Request, route *routers.Route, params map[string]string, got reply) error {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 got.status, Header: got.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	return openapi3filter.ValidateResponse(t.Context(), input.SetBodyBytes([]byte(got.body)))
}

// What the document gives as the example is what the console sends.
func TestTheExampleIsAccepted(t *testing.T) {
	doc := loadDocument(t)
	example, err := json.Marshal(doc.Components.RequestBodies["HostList"].Value.Content["application/json"].Example)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.must(201, "POST", "/edsservice/myservice", string(example))
	r.must(200, "PUT", "/edsservice/myservice", string(example))
}
