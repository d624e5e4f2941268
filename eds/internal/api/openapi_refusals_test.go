package api

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/internal/auth"
)

// What middleware and policies refuse before a handler is asked has the form in the
// document, under a status that is documented where it can happen.
func TestRefusalsHaveTheFormInTheDocument(t *testing.T) {
	r := newRig(t)
	r.opts.Discovery = xds.New(xds.Options{Logger: r.opts.Logger, Allows: func(string, string) bool { return false }})
	who, err := auth.New(auth.Options{ClientCA: true})
	if err != nil {
		t.Fatal(err)
	}
	handler := New(r.opts)
	open := func() http.Handler { return middleware.New(handler, middleware.Options{Logger: r.opts.Logger}) }
	locked := middleware.New(handler, middleware.Options{Auth: who, Logger: r.opts.Logger})
	anybodysBusiness := []string{"/healthz", "/readyz", "/openapi.yaml"}
	router, err := gorillamux.NewRouter(loadDocument(t))
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range loadDocument(t).Paths.Map() {
		where := strings.NewReplacer("{service}", "myservice", "{host}", "127.0.0.1:8081", "{id}", "0123456789abcdef", "{fingerprint}", "01").Replace(path)
		for method := range item.Operations() {
			ask := func() *http.Request {
				req := httptest.NewRequest(method, where, strings.NewReader(`{"node":{"id":"n"},"resource_names":["myservice"]}`))
				req.Header.Set("Content-Type", "application/json")
				req.Host = "localhost"
				return req
			}
			refused := func(h http.Handler, req *http.Request, status int) {
				t.Helper()
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				if w.Code != status {
					t.Errorf("%s %s is answered %d, want %d: %s", method, path, w.Code, status, w.Body)
					return
				}
				documented := ask()
				documented.URL.Scheme, documented.URL.Host, documented.Host = "", "", ""
				conforms(t, router, documented, reply{w.Code, w.Header(), w.Body.String()})
			}
			elsewhere := ask()
			elsewhere.Host = "elsewhere.test"
			elsewhere.Header.Set("Origin", "http://elsewhere.test")
			refused(open(), elsewhere, http.StatusMisdirectedRequest)

			full := middleware.New(http.NotFoundHandler(), middleware.Options{Rate: 1, DiscoveryRate: 1, Logger: r.opts.Logger})
			for range 2 { // as many as are let in at once
				full.ServeHTTP(httptest.NewRecorder(), ask())
			}
			refused(full, ask(), http.StatusTooManyRequests)

			if slices.Contains(anybodysBusiness, path) {
				continue
			}
			refused(locked, ask(), http.StatusUnauthorized)
			stranger := ask() // who has a certificate, and no role
			cert := &x509.Certificate{Subject: pkix.Name{CommonName: "stranger"}}
			stranger.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
			refused(locked, stranger, http.StatusForbidden)
		}
	}
}
