package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
	"github.com/rollcall-fleet/rollcall/internal/budget"
)

const (
	// firstWordWait is how long a connection may take to show what it is.
	firstWordWait = 3 * time.Second

	// roomWait is how long a connection may wait for room: its other end has given up by then.
	roomWait = 10 * time.Second

	// maxQueued are the connections that wait for room; a quarter of them may be of one
	// address. The kernel keeps further ones.
	maxQueued = 128

	// plainStream is what a stream may cost that does not say its size first. In a pool
	// without keys it may be any, and nothing tells members from others.
	plainStream = 1 << 20

	// maxStream is the largest that memberlist 0.7.0 reads (net.go, maxPushStateBytes),
	// with room for the encryption.
	maxStream = 20<<20 + 1<<10
)

// What a stream of memberlist's begins with (net.go, messageType): its label, if the pool
// has one, then an encrypted message.
const (
	streamLabeled   = 244
	streamEncrypted = 10
)

// errSilent is the end of a stream that had no beginning: its sender was stopped when
// it had connected, or only looked whether the port is open.
var errSilent = errors.New("closed before anything was said")

// sorter is a transport whose incoming streams are memberlist's, but for links. It stands
// before anything is authenticated: memberlist reads a message as a whole before it
// decrypts it, so that the sizes of those that are read at once are bounded here.
type sorter struct {
	memberlist.Transport
	sorterOptions
	streams chan net.Conn
	slots   chan struct{} // of connections that are open or wait; full: none is accepted

	conns, bytes *budget.Budget
	once         sync.Once
	ctx          context.Context // ends with Shutdown
	end          context.CancelFunc
	readers      sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // that are not sorted yet; nil once closed
}

// sorterOptions configure a sorter.
type sorterOptions struct {
	links   func(net.Conn) // takes a connection after the preamble of a link; may take as long as it likes
	refused func()         // called for each connection that found no room
	log     *slog.Logger
	conns   int   // open at once
	bytes   int64 // of messages that are read at once
}

func newSorter(t memberlist.Transport, o sorterOptions) *sorter {
	s := &sorter{
		Transport: t, sorterOptions: o, streams: make(chan net.Conn), slots: make(chan struct{}, o.conns+maxQueued),
		conns: budget.New(budget.Options{Total: int64(o.conns), Waiting: o.conns + maxQueued, Each: maxQueued / 4, Most: roomWait}),
		bytes: budget.New(budget.Options{Total: o.bytes, Waiting: o.conns, Most: roomWait}),
		open:  make(map[net.Conn]bool),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.readers.Go(s.run)
	return s
}

// StreamCh implements memberlist.Transport.
func (s *sorter) StreamCh() <-chan net.Conn { return s.streams }

// Shutdown implements memberlist.Transport. It returns once nothing reads any more.
func (s *sorter) Shutdown() error {
	s.once.Do(func() {
		s.end()
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.open = nil
		s.mu.Unlock()
	})
	err := s.Transport.Shutdown()
	s.readers.Wait()
	return err
}

func (s *sorter) run() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case s.slots <- struct{}{}:
		}
		select {
		case <-s.ctx.Done():
			return
		case conn := <-s.Transport.StreamCh():
			s.readers.Go(func() { s.admit(conn) })
		}
	}
}

// admit sorts conn once there is room for it.
func (s *sorter) admit(conn net.Conn) {
	a := &admitted{Conn: conn, party: fleet.PartyOf(conn.RemoteAddr().String()), sorter: s}
	if err := s.conns.Take(s.ctx, a.party, 1); err != nil {
		s.refuse(conn, err)
		_ = conn.Close()
		<-s.slots
		return
	}
	if !s.add(conn) {
		_ = a.Close()
		return
	}
	s.sort(a)
}

func (s *sorter) refuse(conn net.Conn, why error) {
	if s.ctx.Err() == nil {
		s.refused()
		s.log.Debug("closed a connection to the gossip port", "from", conn.RemoteAddr(), "reason", why)
	}
}

// add notes that conn is to be closed with the sorter, which it may be already.
func (s *sorter) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[conn] = true
	return true
}

func (s *sorter) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// sort finds out from its first bytes what conn is, and waits for the room that it needs.
func (s *sorter) sort(a *admitted) {
	_ = a.SetReadDeadline(time.Now().Add(firstWordWait))
	size, err := a.begin()
	s.remove(a.Conn)
	if err == nil && size > 0 {
		if err = s.bytes.Take(s.ctx, a.party, size); err == nil {
			a.bytes = size
		} else {
			s.refuse(a.Conn, err)
		}
	}
	switch {
	case err != nil:
		if errors.Is(err, io.EOF) {
			err = errSilent
		}
		s.log.Debug("closed a connection to the gossip port", "from", a.RemoteAddr(), "reason", err)
		_ = a.Close()
	case size == 0:
		a.release() // links have bounds of their own
		s.links(a.Conn)
	default:
		s.pass(a)
	}
}

// pass hands a stream to memberlist, which sets deadlines of its own.
func (s *sorter) pass(conn net.Conn) {
	select {
	case s.streams <- conn:
	case <-s.ctx.Done():
		_ = conn.Close()
	}
}

// admitted is a connection that has its share of the budgets until it is closed.
type admitted struct {
	net.Conn
	sorter *sorter
	party  netip.Addr
	bytes  int64  // that were taken for it
	first  []byte // that were read already
	once   sync.Once
}

// begin reads as much as says what comes: 0 for a link, of which the preamble is read
// then, else the bytes that the stream may take.
func (a *admitted) begin() (size int64, err error) {
	kind, err := a.peek(1)
	if err != nil {
		return 0, err
	}
	if kind[0] == link.Preamble[0] {
		rest, err := a.peek(len(link.Preamble) - 1)
		if err == nil && string(rest) != link.Preamble[1:] {
			err = errors.New("it is neither a stream of gossip nor a link of this version")
		}
		return 0, err
	}
	if kind[0] == streamLabeled {
		length, err := a.peek(1)
		if err != nil {
			return 0, err
		}
		if _, err := a.peek(int(length[0])); err != nil {
			return 0, err
		}
		if kind, err = a.peek(1); err != nil {
			return 0, err
		}
	}
	if kind[0] != streamEncrypted {
		return plainStream, nil
	}
	length, err := a.peek(4)
	if err != nil {
		return 0, err
	}
	if size = int64(binary.BigEndian.Uint32(length)); size > maxStream {
		return 0, fmt.Errorf("it says that %d bytes follow, at most %d are read", size, maxStream)
	}
	return max(size, 1), nil
}

// peek reads n bytes that Read will return once more.
func (a *admitted) peek(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(a.Conn, b)
	a.first = append(a.first, b...)
	return b, err
}

// Read implements net.Conn.
func (a *admitted) Read(p []byte) (int, error) {
	if len(a.first) == 0 {
		return a.Conn.Read(p)
	}
	n := copy(p, a.first)
	a.first = a.first[n:]
	return n, nil
}

// Close implements net.Conn.
func (a *admitted) Close() error {
	err := a.Conn.Close()
	a.release()
	return err
}

// release gives back what the connection has had.
func (a *admitted) release() {
	a.once.Do(func() {
		if a.bytes > 0 {
			a.sorter.bytes.Give(a.party, a.bytes)
		}
		a.sorter.conns.Give(a.party, 1)
		<-a.sorter.slots
	})
}
