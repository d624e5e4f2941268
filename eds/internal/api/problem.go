package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/problem"
)

// handler answers a request, or returns an error and has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// problemf is the error that becomes a problem document with this status.
func problemf(status int, format string, args ...any) *problem.Problem {
	return problem.Errorf(status, format, args...)
}

// edge is the only place where an error becomes an HTTP answer.
func (a *api) edge(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		a.countRefusal(err)
		p := asProblem(err)
		if p.Status == http.StatusInternalServerError {
			p = failed(r)
			a.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		p.Write(w)
	})
}

// Reasons for refusing a request: label values of a metric.
const (
	refusedOverride = "overrides"
	refusedReader   = "event_readers"
)

func (a *api) countRefusal(err error) {
	switch {
	case errors.Is(err, override.ErrFull):
		a.Refused(refusedOverride)
	case errors.Is(err, events.ErrFull):
		a.Refused(refusedReader)
	}
}

func asProblem(err error) *problem.Problem {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problemf(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", big.Limit)
	}
	switch {
	case errors.Is(err, override.ErrExists):
		return problemf(http.StatusConflict, "%v: use PUT to replace it or DELETE to revoke it", err)
	case errors.Is(err, override.ErrNotFound):
		return problemf(http.StatusNotFound, "%v", err)
	case errors.Is(err, override.ErrStale):
		return problemf(http.StatusPreconditionFailed, "%v: If-Match does not match, read the current state again", err)
	case errors.Is(err, override.ErrFull):
		return problemf(http.StatusInsufficientStorage, "%v: revoke some", err)
	case errors.Is(err, events.ErrFull), errors.Is(err, events.ErrClosed):
		return problemf(http.StatusServiceUnavailable, "%v", err)
	case errors.Is(err, override.ErrTooLong):
		return problemf(http.StatusRequestEntityTooLarge, "%v", err)
	}
	return problemf(http.StatusInternalServerError, "the server failed: see its log")
}

// failed answers a request that ended by a fault of the server, which may have come after
// the change.
func failed(r *http.Request) *problem.Problem {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return asProblem(nil)
	}
	return problemf(http.StatusInternalServerError, "the server failed and may have made the change: read the current state before you try again, and see its log")
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return problemf(http.StatusNotFound, "no such path %s: the console at / lists what exists", r.URL.Path)
}

// methodNotAllowed names the methods that router has for the path.
func methodNotAllowed(router *mux.Router) handler {
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	return func(w http.ResponseWriter, r *http.Request) error {
		var allow []string
		for _, method := range methods {
			try := r.Clone(r.Context())
			try.Method = method
			var match mux.RouteMatch
			if router.Match(try, &match) && match.MatchErr == nil {
				allow = append(allow, method)
			}
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return problemf(http.StatusMethodNotAllowed, "method %s is not allowed for %s: use %s", r.Method, r.URL.Path, strings.Join(allow, ", "))
	}
}

// answer writes v as JSON, and status (200 when 0).
func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(cmp.Or(status, http.StatusOK))
	_, _ = w.Write(append(b, '\n')) // the client has gone
	return nil
}
