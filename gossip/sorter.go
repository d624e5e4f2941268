package gossip

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
)

const (
	// firstWordWait is how long a connection may take to show what it is.
	firstWordWait = 3 * time.Second

	// maxUnsorted are the connections that have not yet shown it, and how many of them
	// one IP address may have. Those of members show it at once.
	maxUnsorted, maxUnsortedPerAddr = 1024, 128
)

// errSilent is the end of a stream that had no beginning: its sender was stopped when
// it had connected, or only looked whether somebody listens.
var errSilent = errors.New("closed before anything was said")

// sorter is a transport whose incoming streams are memberlist's, but for links.
type sorter struct {
	memberlist.Transport
	links   func(net.Conn) // takes a connection after the preamble of a link; may take as long as it likes
	log     *slog.Logger
	streams chan net.Conn

	once    sync.Once
	closed  chan struct{}
	readers sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]netip.Addr // that are not sorted yet; nil once closed
	perAddr map[netip.Addr]int
}

func newSorter(t memberlist.Transport, links func(net.Conn), log *slog.Logger) *sorter {
	s := &sorter{
		Transport: t, links: links, log: log, streams: make(chan net.Conn), closed: make(chan struct{}),
		open: make(map[net.Conn]netip.Addr), perAddr: make(map[netip.Addr]int),
	}
	s.readers.Go(s.run)
	return s
}

// StreamCh implements memberlist.Transport.
func (s *sorter) StreamCh() <-chan net.Conn { return s.streams }

// Shutdown implements memberlist.Transport. It returns once nothing reads any more.
func (s *sorter) Shutdown() error {
	s.once.Do(func() {
		close(s.closed)
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
		case <-s.closed:
			return
		case conn := <-s.Transport.StreamCh():
			if s.add(conn) {
				s.readers.Go(func() { s.sort(conn) })
			} else {
				_ = conn.Close()
			}
		}
	}
}

// add reports whether there is room for conn.
func (s *sorter) add(conn net.Conn) bool {
	addr := remoteAddr(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	if len(s.open) >= maxUnsorted || addr.IsValid() && s.perAddr[addr] >= maxUnsortedPerAddr {
		s.log.Debug("closed a connection: too many that say nothing are open", "from", conn.RemoteAddr())
		return false
	}
	s.open[conn] = addr
	s.perAddr[addr]++
	return true
}

func (s *sorter) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, ok := s.open[conn]
	if !ok {
		return
	}
	delete(s.open, conn)
	if s.perAddr[addr]--; s.perAddr[addr] == 0 {
		delete(s.perAddr, addr)
	}
}

// sort finds out from its first bytes what conn is.
func (s *sorter) sort(conn net.Conn) {
	first := make([]byte, 1)
	_ = conn.SetReadDeadline(time.Now().Add(firstWordWait))
	_, err := io.ReadFull(conn, first)
	isLink := err == nil && first[0] == link.Preamble[0]
	if isLink {
		rest := make([]byte, len(link.Preamble)-1)
		if _, err = io.ReadFull(conn, rest); err == nil && string(rest) != link.Preamble[1:] {
			err = errors.New("it is neither a stream of gossip nor a link of this version")
		}
	}
	s.remove(conn)
	switch {
	case err != nil:
		if errors.Is(err, io.EOF) {
			err = errSilent
		}
		s.log.Debug("closed a connection to the gossip port", "from", conn.RemoteAddr(), "reason", err)
		_ = conn.Close()
	case isLink:
		s.links(conn)
	default:
		s.pass(&peeked{Conn: conn, first: first})
	}
}

// pass hands a stream to memberlist, which sets deadlines of its own.
func (s *sorter) pass(conn net.Conn) {
	select {
	case s.streams <- conn:
	case <-s.closed:
		_ = conn.Close()
	}
}

func remoteAddr(conn net.Conn) netip.Addr {
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a network in memory
	}
	return addr.Addr().Unmap()
}

// peeked is a connection of which a byte was read already.
type peeked struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (c *peeked) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}
