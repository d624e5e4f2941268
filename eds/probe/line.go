package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// IDHeader carries the uuid of the process that answers.
const IDHeader = "X-Rollcall-Id"

const (
	dialLimit   = 5 * time.Second // silence is judged long before
	writeLimit  = 100 * time.Millisecond
	answerLimit = 64 << 10 // bytes of one answer
	bufferSize  = 512
)

// line is one connection to an endpoint, open or opening. Its goroutine dials and
// then reads until the connection breaks, so that a break is seen at once. Its
// fields belong to the watcher.
type line struct {
	cancel context.CancelFunc
	opened time.Time
	conn   net.Conn // nil until it stands
	asked  bool     // a request is out
	aged   bool     // it stood idle before: the server may be closing it just now
}

// openLine starts a line to w's endpoint; what it sees goes to w.events.
func (w *watcher) openLine(ctx context.Context) *line {
	ctx, cancel := context.WithCancel(ctx)
	l := &line{cancel: cancel, opened: time.Now()}
	w.wg.Go(func() {
		defer cancel()
		send := func(e event) bool {
			e.line = l
			return w.send(ctx, e)
		}
		bounded, done := context.WithTimeout(ctx, dialLimit)
		conn, err := w.opts.Dial(bounded, "tcp", w.target.Addr.String())
		done()
		if err != nil {
			send(event{kind: dialFailure(err)})
			return
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		if send(event{kind: connected, conn: conn}) && read(w.target.Kind, conn, send) {
			send(event{kind: broke})
		}
	})
	return l
}

func dialFailure(err error) eventKind {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refused
	}
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, own) {
			return helpless
		}
	}
	return unreachable
}

// read reads until the connection breaks. It reports false when nobody listens to
// send any more.
func read(kind fleet.ProbeKind, conn io.Reader, send func(event) bool) bool {
	if kind == fleet.ProbeTCP {
		io.CopyN(io.Discard, conn, answerLimit) // a greeting, or whatever it says
		return true
	}
	limited := &io.LimitedReader{R: conn, N: answerLimit}
	r := bufio.NewReaderSize(limited, bufferSize)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return true
		}
		if resp.StatusCode < 200 {
			continue // the real answer follows
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if !send(event{kind: answered, good: resp.StatusCode < 300, id: resp.Header.Get(IDHeader)}) {
			return false
		}
		if err != nil || resp.Close {
			return true
		}
		limited.N = answerLimit
	}
}

// ask sends a request on a line that stands.
func (l *line) ask(request []byte) error {
	l.asked = true
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := l.conn.Write(request)
	return err
}
