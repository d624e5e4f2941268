package xds

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzPoll sends bodies to both REST flavours: whatever they hold, the answer is a
// refusal or what was asked for, and never a failure of the server.
func FuzzPoll(f *testing.F) {
	for _, seed := range []string{
		`{"node":{"id":"e"},"resource_names":["mine"]}`, `{"resource_names":["mine","other"],"version_info":"x"}`,
		`{"resourceNames":["mine"],"typeUrl":"` + typeV3 + `"}`, `{"resource_names":["*"]}`, `{"resource_names":[""]}`, `{}`, `[]`, ``, "\xff",
		`{"node":{"metadata":{"a":{"b":[1,null]}}},"resource_names":["mine"],"error_detail":{"message":"no"}}`,
	} {
		f.Add([]byte(seed))
	}
	s := abrupt(Options{MaxClients: 10})
	s.Update(settled(service("mine", "10.0.0.1:80")))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, serve := range []http.HandlerFunc{s.ServeRESTv3, s.ServeRESTv2} {
			w := httptest.NewRecorder()
			serve(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(string(body))))
			switch w.Code {
			case 200, 400, 503:
				if !json.Valid(w.Body.Bytes()) {
					t.Errorf("status %d, not JSON: %q", w.Code, w.Body)
				}
			case 304:
			default:
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		}
	})
}

// FuzzRegistration asks for services of any name.
func FuzzRegistration(f *testing.F) {
	for _, seed := range []string{"mine", "", "a/b", "*", "\x00", strings.Repeat("a", 2000)} {
		f.Add(seed)
	}
	s := abrupt(Options{})
	s.Update(settled(service("mine", "10.0.0.1:80")))
	f.Fuzz(func(t *testing.T, name string) {
		w := httptest.NewRecorder()
		s.ServeRegistration(w, httptest.NewRequest(http.MethodGet, "/v1/registration/x", nil), name)
		if w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: status %d: %s", name, w.Code, w.Body)
		}
	})
}
