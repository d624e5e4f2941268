package xds

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"

	"github.com/envoyproxy/go-control-plane/pkg/log"
)

// What a request says.
const (
	verdictSubscribe = "subscribe" // asks, and judges no response
	verdictACK       = "ack"
	verdictNACK      = "nack"
	verdictPoll      = "poll" // over REST, where the version alone says what was accepted
)

// maxLogged is how many names of a request are logged.
const maxLogged = 10

// request is what is logged of a discovery request.
type request struct {
	node      string
	peer      string
	transport string
	names     []string
	dropped   []string // delta: no longer asked for
	version   string
	verdict   string
	reason    string // of a NACK
	repeated  bool   // says nothing new
}

// digest is equal for requests of one client that say the same.
func (r request) digest() uint64 {
	h := fnv.New64a()
	for _, list := range [][]string{{r.version, r.verdict, r.reason}, r.names, r.dropped} {
		for _, s := range list {
			_, _ = io.WriteString(h, s)
			_, _ = h.Write([]byte{0xff}) // in no UTF-8 string
		}
		_, _ = h.Write([]byte{0xfe})
	}
	return h.Sum64()
}

// logRequest logs a discovery request, a repeated one at debug level.
func (s *Server) logRequest(r request) {
	level := slog.LevelInfo
	if r.repeated {
		level = slog.LevelDebug
	}
	if !s.logger.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("node", r.node), slog.String("transport", r.transport), slog.String("peer", r.peer),
		slog.String("says", r.verdict), slog.Any("names", firstFew(r.names)), slog.String("version", shorten(r.version, maxNode)),
	}
	if len(r.dropped) > 0 {
		attrs = append(attrs, slog.Any("dropped", firstFew(r.dropped)))
	}
	if r.verdict == verdictNACK {
		attrs = append(attrs, slog.String("reason", shorten(r.reason, maxDetail)))
	}
	s.logger.LogAttrs(context.Background(), level, "discovery request", attrs...)
}

func firstFew(names []string) []string {
	few := make([]string, 0, min(len(names), maxLogged+1))
	for _, name := range names[:min(len(names), maxLogged)] {
		few = append(few, shorten(name, maxNode))
	}
	if more := len(names) - maxLogged; more > 0 {
		few = append(few, fmt.Sprintf("and %d more", more))
	}
	return few
}

// libraryLogger takes go-control-plane's lines. What it calls info is the
// ordinary run of the protocol.
func libraryLogger(l *slog.Logger) log.Logger {
	return log.LoggerFuncs{
		DebugFunc: func(f string, args ...any) { l.Debug(fmt.Sprintf(f, args...)) },
		InfoFunc:  func(f string, args ...any) { l.Debug(fmt.Sprintf(f, args...)) },
		WarnFunc:  func(f string, args ...any) { l.Warn(fmt.Sprintf(f, args...)) },
		ErrorFunc: func(f string, args ...any) { l.Error(fmt.Sprintf(f, args...)) },
	}
}
