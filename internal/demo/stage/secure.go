package stage

import (
	"crypto/tls"
	"net/http"
	"strings"
)

// Secure makes a speak TLS and show a bearer token; "" shows none. It must be
// called before the first request.
func (a *API) Secure(config *tls.Config, token string) {
	a.base = strings.Replace(a.base, "http://", "https://", 1)
	transport := a.http.Transport.(*http.Transport) // NewAPIVia made it
	transport.TLSClientConfig = config
	if token != "" {
		a.http.Transport = bearer{transport, token}
	}
}

type bearer struct {
	next  http.RoundTripper
	token string
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}
