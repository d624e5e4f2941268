package gossip

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// noContext is for log lines that no request or caller stands behind.
var noContext = context.Background()

// levels are the prefixes that memberlist 0.7.0 writes.
var levels = []struct {
	prefix string
	level  slog.Level
}{
	{"[DEBUG] ", slog.LevelDebug},
	{"[INFO] ", slog.LevelInfo},
	{"[WARN] ", slog.LevelWarn},
	{"[ERR] ", slog.LevelError},
	{"[ERROR] ", slog.LevelError},
	{"Err: ", slog.LevelError},
}

// bridge returns the logger to give to memberlist: its lines go to log at the
// level that they name.
func bridge(to *slog.Logger, quiet *throttle) *log.Logger {
	return log.New(bridgeWriter{log: to, quiet: quiet}, "", 0)
}

type bridgeWriter struct {
	log   *slog.Logger
	quiet *throttle
}

// Write takes one line of memberlist's.
func (w bridgeWriter) Write(p []byte) (int, error) {
	level, msg := parseLine(string(p))
	w.log.Log(noContext, w.quiet.level(kind(msg), level), msg)
	return len(p), nil
}

func parseLine(line string) (slog.Level, string) {
	line = strings.TrimSuffix(line, "\n")
	for _, l := range levels {
		if msg, ok := strings.CutPrefix(line, l.prefix); ok {
			return l.level, msg
		}
	}
	return slog.LevelInfo, line
}

// kind is what a line has in common with its repeats: its first words and the
// address, without the port, that it came from. What follows the first words is
// often the sender's to choose.
func kind(msg string) string {
	words := strings.SplitN(msg, " ", 5)
	key := strings.Join(words[:min(len(words), 4)], " ")
	if i := strings.LastIndex(msg, " from="); i >= 0 {
		from := msg[i:]
		if j := strings.LastIndex(from, ":"); j >= 0 {
			from = from[:j]
		}
		key += from
	}
	return key
}

// throttle keeps strangers from filling the log. In each window the first line
// of a kind passes, and a bounded number of kinds.
type throttle struct {
	mu    sync.Mutex
	since time.Time // the window's start
	seen  map[string]bool
}

const (
	throttleWindow = time.Minute
	throttleKinds  = 64
)

func newThrottle() *throttle { return &throttle{seen: make(map[string]bool)} }

// level returns the level at which to log a line of this kind: want, or debug
// when it is a repeat.
func (t *throttle) level(kind string, want slog.Level) slog.Level {
	if want <= slog.LevelDebug {
		return want
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.since) >= throttleWindow {
		t.since = now
		clear(t.seen)
	}
	if t.seen[kind] || len(t.seen) >= throttleKinds {
		return slog.LevelDebug
	}
	t.seen[kind] = true
	return want
}
