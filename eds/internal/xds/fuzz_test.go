package xds

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
