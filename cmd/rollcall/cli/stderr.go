package cli

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	// stderrWait is how long a line waits for a reader of standard error that hangs. Those
	// that follow do not wait until it reads again.
	stderrWait = 100 * time.Millisecond

	// stderrLines is how many lines are kept for it.
	stderrLines = 256
)

// Stderr is where logs and messages go.
var Stderr = newUnblocked(os.Stderr)

// unblocked writes to what may block without end, as a pipe does whose reader hangs:
// a writer waits for a bounded time, and lines that do not fit are dropped and counted.
type unblocked struct {
	to      io.Writer
	lines   chan line
	blocked atomic.Bool
	dropped atomic.Int64
}

type line struct {
	text    []byte
	written chan struct{}
}

// newUnblocked starts a goroutine that lives as long as the process.
func newUnblocked(to io.Writer) *unblocked {
	u := &unblocked{to: to, lines: make(chan line, stderrLines)}
	go u.run()
	return u
}

func (u *unblocked) run() {
	for l := range u.lines {
		_, _ = u.to.Write(l.text) // there is no other place to report it
		u.blocked.Store(false)
		close(l.written)
		if len(u.lines) > 0 {
			continue
		}
		if n := u.dropped.Swap(0); n > 0 { // after all that were kept
			fmt.Fprintf(u.to, "rollcall: %d lines of the log are missing: their reader did not read\n", n)
		}
	}
}

// Write returns no error.
func (u *unblocked) Write(text []byte) (int, error) {
	l := line{append([]byte(nil), text...), make(chan struct{})}
	select {
	case u.lines <- l:
	default:
		u.dropped.Add(1)
		return len(text), nil
	}
	if u.blocked.Load() {
		return len(text), nil
	}
	timer := time.NewTimer(stderrWait)
	defer timer.Stop()
	select {
	case <-l.written:
	case <-timer.C:
		u.blocked.Store(true)
	}
	return len(text), nil
}
