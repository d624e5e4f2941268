// Package problem is the error answers of the HTTP port: RFC 9457 problem documents.
package problem

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// ContentType is that of a problem document.
const ContentType = "application/problem+json"

// Problem is a problem document, and the error that becomes one.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return p.Detail }

// Errorf returns the problem with this HTTP status.
func Errorf(status int, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// Write answers with p, and with Retry-After where a client may try again soon.
func (p *Problem) Write(w http.ResponseWriter) {
	h := w.Header()
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	h.Set("Content-Type", ContentType)
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // it is no HTML, and nosniff says so
	_ = enc.Encode(p)        // where the client has left, no one reads the error either
}
