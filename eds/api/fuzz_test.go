package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// FuzzHosts reads bodies of POST and PUT: what is taken passes the border check.
func FuzzHosts(f *testing.F) {
	f.Add([]byte(payload))
	for _, tt := range badBodies {
		if len(tt.body) < 1000 {
			f.Add([]byte(tt.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		hosts, err := decodeHosts(body)
		if err != nil {
			return
		}
		for _, h := range hosts {
			if err := h.Check(); err != nil {
				t.Errorf("took %+v: %v", h, err)
			}
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
