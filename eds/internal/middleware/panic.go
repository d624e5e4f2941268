package middleware

import (
	"net/http"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// caught returns next, whose panics end its request only: with status 500 if nothing
// was answered, else by closing the connection.
func caught(next http.Handler, c panics.Catcher) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answering{ResponseWriter: w}
		defer func() {
			v := recover()
			switch {
			case v == nil:
				return
			case v == http.ErrAbortHandler: // on purpose
				panic(v)
			}
			c.Report(panics.HTTP, v)
			if a.began {
				panic(http.ErrAbortHandler) // net/http closes the connection without a line
			}
			failed.answer(w)
		}()
		next.ServeHTTP(a, r)
	})
}

var failed = &refusal{http.StatusInternalServerError, "", "the server failed: see its log"}

// answering knows whether an answer has begun.
type answering struct {
	http.ResponseWriter
	began bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answering) WriteHeader(status int) {
	a.began = true
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answering) Write(b []byte) (int, error) {
	a.began = true
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush implements http.Flusher, which gRPC's handler asks for by a type assertion.
func (a *answering) Flush() {
	a.began = true
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}
