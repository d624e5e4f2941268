// Package panics keeps a panic in the handling of one request, stream or message
// from ending the process: it becomes an ERROR line with the stack, and a count.
package panics

import (
	"log/slog"
	"runtime/debug"
)

// Where a panic was caught: label values of a metric.
const (
	HTTP     = "http"     // a request at the HTTP port
	XDS      = "xds"      // a stream or call at the gRPC port
	Gossip   = "gossip"   // a message or an update of a member
	Database = "database" // a transaction
)

// Catcher says what becomes of a panic. The zero value recovers in silence.
type Catcher struct {
	Logger *slog.Logger       // nil: none
	Count  func(where string) // called for each panic; may be nil
}

// Catch recovers from a panic, reports it, and calls then, unless that is nil. It
// must be deferred itself.
func (c Catcher) Catch(where string, then func(panicked any)) {
	v := recover()
	if v == nil {
		return
	}
	c.Report(where, v)
	if then != nil {
		then(v)
	}
}

// Report logs and counts a panic that was recovered from. The stack is that of the
// caller, which must still be unwinding.
func (c Catcher) Report(where string, panicked any) {
	if c.Count != nil {
		c.Count(where)
	}
	if c.Logger != nil {
		c.Logger.Error("panic: this is a bug, report it with this line", "where", where, "panic", panicked, "stack", string(debug.Stack()))
	}
}
