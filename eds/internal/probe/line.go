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

const (
	dialLimit   = 5 * time.Second // silence is judged long before
	writeLimit  = 100 * time.Millisecond
	answerLimit = 64 << 10 // bytes of one answer
	bufferSize  = 512
)

// line is one connection to an endpoint, open or opening.
type line struct {
	opened time.Time
	giveUp context.CancelFunc // the dial; nil once it stands
	conn   net.Conn           // nil until it stands
	stream Stream             // in place of conn
	way    way
	asked  bool // a request is out
	aged   bool // it stood idle before: the server may be closing it just now
}

// dial starts a line to w's endpoint.
func (l *loop) dial(w *watcher, y way) *line {
	ctx, cancel := context.WithTimeout(l.ctx, dialLimit)
	n := &line{opened: time.Now(), giveUp: cancel, way: y}
	l.wg.Go(func() {
		defer cancel()
		if y == streamed {
			l.dialStream(ctx, w, n)
			return
		}
		conn, err := l.opts.Dial(ctx, "tcp", w.target.Addr.String())
		if err != nil {
			l.send(event{watcher: w, line: n, kind: dialFailure(err)})
		} else if !l.send(event{watcher: w, line: n, kind: connected, conn: conn}) {
			conn.Close()
		}
	})
	return n
}

func dialFailure(err error) eventKind {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.Is(err, syscall.ECONNRESET):
		return broke // it was accepted, by a port that closed before this was noticed
	}
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, own) {
			return helpless
		}
	}
	return unreachable
}

// read reads from a line that stands until it breaks, so that a break is seen at
// once. Its goroutine is not the one that dialed: it lives long and needs little
// stack.
func (l *loop) read(w *watcher, n *line) {
	conn := n.conn // the field belongs to the loop
	l.wg.Go(func() {
		readAnswers(conn, func(good bool, id string) bool {
			return l.send(event{watcher: w, line: n, kind: answered, good: good, id: id})
		})
		l.send(event{watcher: w, line: n, kind: broke})
	})
}

// readAnswers returns when the connection breaks or yield reports false.
func readAnswers(conn io.Reader, yield func(good bool, id string) bool) {
	limited := &io.LimitedReader{R: conn, N: answerLimit}
	r := bufio.NewReaderSize(limited, bufferSize)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return
		}
		if resp.StatusCode < 200 {
			continue // the real answer follows
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if !yield(resp.StatusCode < 300, resp.Header.Get(fleet.IDHeader)) || err != nil || resp.Close {
			return
		}
		limited.N = answerLimit
	}
}

// ask sends a request over HTTP on a line that stands. It does not wait: the request fits
// in the kernel's buffer, which is empty.
func (n *line) ask(request []byte) error {
	n.asked = true
	if err := n.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := n.conn.Write(request)
	return err
}

func (n *line) close() {
	switch {
	case n.stream != nil:
		_ = n.stream.Close()
	case n.conn != nil:
		_ = n.conn.Close()
	default:
		n.giveUp()
	}
}

// stands reports whether the line is open.
func (n *line) stands() bool { return n.conn != nil || n.stream != nil }
