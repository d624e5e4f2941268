package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// IDHeader carries the uuid of the process that answers.
const IDHeader = "X-Rollcall-Id"

const (
	dialLimit   = 5 * time.Second // silence is judged long before
	writeLimit  = 100 * time.Millisecond
	answerLimit = 64 << 10 // bytes of one answer
	bufferSize  = 512
)

// dialFunc is net.Dialer's DialContext.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

type eventKind int

const (
	connected   eventKind = iota
	refused               // nobody listens
	unreachable           // the dial failed otherwise, which proves nothing
	answered
	broke
	witnessed // the gossip port has spoken, or not
	pinged    // gossip has
)

// event is what a goroutine of a watcher tells it.
type event struct {
	kind    eventKind
	line    *line // for the kinds up to broke
	good    bool  // answered: a 2xx; pinged: an answer came
	id      string
	witness witness
}

// line is one connection to an endpoint, open or opening. Its goroutine dials and
// then reads until the connection breaks, so that a break is seen at once.
type line struct {
	cancel context.CancelFunc

	mu   sync.Mutex
	conn net.Conn // nil until it stands

	// Owned by the watcher.
	opened time.Time
	stands bool // connected was seen
	asked  bool // a request is out
	used   bool // it has carried an answer
}

// openLine starts a line; wg counts its goroutine, events takes what it sees.
func openLine(ctx context.Context, wg *sync.WaitGroup, dial dialFunc, address string, events chan<- event) *line {
	ctx, cancel := context.WithCancel(ctx)
	l := &line{cancel: cancel, opened: time.Now()}
	wg.Go(func() {
		defer cancel()
		send := func(e event) bool {
			e.line = l
			select {
			case events <- e:
				return true
			case <-ctx.Done():
				return false
			}
		}
		conn, err := dialWithin(ctx, dial, address)
		if err != nil {
			kind := unreachable
			if errors.Is(err, syscall.ECONNREFUSED) {
				kind = refused
			}
			send(event{kind: kind})
			return
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		defer conn.Close()
		l.mu.Lock()
		l.conn = conn
		l.mu.Unlock()
		if send(event{kind: connected}) && readAnswers(conn, send) {
			send(event{kind: broke})
		}
	})
	return l
}

func dialWithin(ctx context.Context, dial dialFunc, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	return dial(ctx, "tcp", address)
}

// readAnswers reads until the connection breaks. It reports false when nobody
// listens to send any more.
func readAnswers(conn io.Reader, send func(event) bool) bool {
	limited := &io.LimitedReader{R: conn}
	r := bufio.NewReaderSize(limited, bufferSize)
	for {
		limited.N = answerLimit
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return true
		}
		if resp.StatusCode < 200 {
			continue // the real answer follows
		}
		e := event{kind: answered, good: resp.StatusCode < 300, id: resp.Header.Get(IDHeader)}
		if !send(e) {
			return false
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || limited.N <= 0 || resp.Close {
			return true
		}
	}
}

// ask sends a request. Only the watcher calls it, on a line that stands.
func (l *line) ask(request []byte) error {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	l.asked = true
	if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := conn.Write(request)
	return err
}
