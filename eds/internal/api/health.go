package api

import (
	"io"
	"net/http"
)

func healthz(w http.ResponseWriter, _ *http.Request) error { return plain(w, "ok\n") }

// readyz is 503 until the registry may be believed.
func (a *api) readyz(w http.ResponseWriter, _ *http.Request) error {
	if !a.Registry.Snapshot().Settled {
		return problemf(http.StatusServiceUnavailable, "gossip has not settled, so the list of endpoints may be incomplete")
	}
	return plain(w, "ready\n")
}

func plain(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // the client has gone
	return nil
}
