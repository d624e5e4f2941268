package upstream

import (
	"io"
	"net/http"
	"net/url"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Healthz answers health probes: 200 "ok", or 503 while the endpoint is draining
// or unhealthy.
func (r *Registration) Healthz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status, body := http.StatusOK, "ok"
		if health := r.Member().Endpoint.Health; health != fleet.Healthy {
			status, body = http.StatusServiceUnavailable, string(health)
		} else if check := r.opts.health; check != nil {
			if err := check(req.Context()); err != nil {
				status, body = http.StatusServiceUnavailable, err.Error()
			}
		}
		w.Header().Set(fleet.IDHeader, r.ID().String())
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		io.WriteString(w, body) // an error means that the prober has disconnected
	})
}

// Handler answers the health path if the endpoint is probed over HTTP, and passes every other
// request to next. All responses have the header [fleet.IDHeader].
func (r *Registration) Handler(next http.Handler) http.Handler {
	healthz := r.Healthz()
	path := probePath(r.Member().Probe)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		probe := path != "" && req.URL.Path == path
		noteRequest(req, probe)
		if probe {
			healthz.ServeHTTP(w, req)
			return
		}
		w.Header().Set(fleet.IDHeader, r.ID().String())
		next.ServeHTTP(w, req)
	})
}

// probePath is the path of the probe's requests as in [http.Request], or "" if the probe does
// not use HTTP.
func probePath(p fleet.Probe) string {
	if p.Kind != fleet.ProbeHTTP {
		return ""
	}
	u, err := url.ParseRequestURI(p.Path)
	if err != nil {
		return ""
	}
	return u.Path
}
