package xds

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/log"
)

// The kinds of requests in the log.
const (
	verdictSubscribe = "subscribe" // neither accepts nor rejects a response
	verdictACK       = "ack"
	verdictNACK      = "nack"
	verdictPoll      = "poll" // over REST, where only the version tells what was accepted
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
	repeated  bool   // the same as the request before it
	silenced  bool   // the client has sent too many lately
	leftOut   int    // requests before it that were silenced
}

// digest is equal for requests of one client with the same content.
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

// logRequest logs a discovery request; at debug level if it repeats the one before, or is
// one too many.
func (s *Server) logRequest(r request) {
	level := slog.LevelInfo
	if r.repeated || r.silenced {
		level = slog.LevelDebug
	}
	if !s.logger.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("node", r.node), slog.String("transport", r.transport), slog.String("peer", r.peer),
		slog.String("says", r.verdict), slog.Any("names", firstFew(r.names)), slog.String("version", shorten(r.version, maxNode)),
	}
	if r.leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", r.leftOut))
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

// libraryLogger logs go-control-plane's lines. Its info lines are about the normal course
// of the protocol, so they are logged at debug level.
func libraryLogger(l *slog.Logger) log.Logger {
	return log.LoggerFuncs{
		DebugFunc: func(f string, args ...any) { l.Debug(fmt.Sprintf(f, args...)) },
		InfoFunc:  func(f string, args ...any) { l.Debug(fmt.Sprintf(f, args...)) },
		WarnFunc:  func(f string, args ...any) { l.Warn(fmt.Sprintf(f, args...)) },
		ErrorFunc: func(f string, args ...any) { l.Error(fmt.Sprintf(f, args...)) },
	}
}

// linesASecond is how many requests of one client are logged at info level, per second.
const linesASecond = 10

// logLines bounds what is logged of one client.
type logLines struct {
	second  time.Time
	logged  int // since then
	leftOut int // since the last one that was logged
}

// spend reports whether a line is one too many, and if not, how many were before it.
func (l *logLines) spend(now time.Time) (silenced bool, leftOut int) {
	if now.Sub(l.second) >= time.Second {
		l.second, l.logged = now, 0
	}
	if l.logged >= linesASecond {
		l.leftOut++
		return true, 0
	}
	l.logged++
	leftOut, l.leftOut = l.leftOut, 0
	return false, leftOut
}

// The bounds of what is logged of one address, whose clients may reconnect under other
// names: an Envoy without ADS opens a stream for each of its clusters, a thousand at once.
const (
	addressLines = 50 // a second
	addressBurst = 2000
)

// logRefusal logs a refusal. All clients together share the bound of one client's requests.
func (s *Server) logRefusal(level slog.Level, message string, attrs ...any) {
	s.refusing.Lock()
	silenced, leftOut := s.refusals.spend(time.Now())
	s.refusing.Unlock()
	if silenced {
		return
	}
	if leftOut > 0 {
		attrs = append(attrs, "left_out", leftOut)
	}
	s.logger.Log(context.Background(), level, message, attrs...)
}
