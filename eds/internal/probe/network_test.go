package probe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// network is a network in memory, for virtual time. Its zero value has no endpoints:
// every dial is refused.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host
}

// host is a port of it. Set its fields through set.
type host struct {
	net *network

	refusing bool          // no process listens
	rejected bool          // a firewall refuses for it, over TCP
	walled   bool          // and over UDP
	dropped  bool          // a firewall drops what goes to it over TCP
	secret   bool          // no ICMP message says that its UDP port is unreachable
	dark     bool          // packets to it and from it vanish, and only dials try again
	frozen   bool          // the kernel accepts, the process does not answer until it thaws
	dialErr  error         // what every dial finds
	status   int           // of its answers; 0 is 200
	id       string        // fleet.IDHeader of its answers
	raw      string        // answers in place of what status and id make
	close    bool          // each answer is the last on its connection
	hangUp   bool          // closes each connection when asked, without an answer
	accepts  int           // closes that many connections just after it accepted them
	idle     time.Duration // after which it closes a connection; 0 for never
	crossing time.Duration // its close crosses the request if that comes so long after the last; 0 for never
	slow     time.Duration // an answer takes
	greeting string

	// How long a packet takes on its way: of data, and of the handshake.
	leg, syn func() time.Duration

	conns   map[*memConn]bool
	all     []*memConn // also those that it has closed
	waiting []*memConn // asked while it was frozen
	dials   []time.Time
	asked   int
}

func (n *network) host(addr string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[addr]
	if h == nil {
		none := func() time.Duration { return 0 }
		h = &host{net: n, refusing: true, leg: none, syn: none, conns: make(map[*memConn]bool)}
		if n.hosts == nil {
			n.hosts = make(map[string]*host)
		}
		n.hosts[addr] = h
	}
	return h
}

// set changes an endpoint, and lets the change have its effect on what is open.
func (h *host) set(change func(*host)) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	change(h)
	if h.refusing || h.rejected {
		h.hangUpAll()
	}
	if !h.frozen && !h.dark {
		for _, c := range h.waiting {
			go h.answer(c)
		}
		h.waiting = nil
	}
}

// hangUpAll closes the endpoint's ends of all connections.
func (h *host) hangUpAll() {
	if h.dark {
		return
	}
	for c := range h.conns {
		close(c.eof)
	}
	clear(h.conns)
	h.waiting = nil
}

func (h *host) get() host {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return *h
}

// open is how many connections the client has not closed.
func (h *host) open() int {
	n := 0
	for _, c := range h.get().all {
		select {
		case <-c.closed:
		default:
			n++
		}
	}
	return n
}

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h := n.host(addr)
	if network == "udp" {
		return &memSocket{host: h}, nil
	}
	n.mu.Lock()
	h.dials = append(h.dials, time.Now())
	way := h.syn() + h.syn()
	n.mu.Unlock()
	for retry := time.Second; ; way, retry = retry, 2*retry {
		select {
		case <-time.After(way):
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
		if conn, err := h.accept(); conn != nil || err != nil {
			return conn, err
		}
	}
}

// accept returns nothing if nothing comes back.
func (h *host) accept() (net.Conn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch {
	case h.dark || h.dropped:
		return nil, nil
	case h.dialErr != nil:
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", h.dialErr)}
	case (h.refusing || h.rejected) && h.accepts == 0:
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	c := &memConn{host: h, data: make(chan string, 16), eof: make(chan struct{}), closed: make(chan struct{})}
	h.all = append(h.all, c)
	if h.accepts > 0 {
		h.accepts--
		close(c.eof)
		return c, nil
	}
	if h.greeting != "" {
		c.data <- h.greeting
	}
	h.conns[c] = true
	h.closeIdle(c)
	return c, nil
}

// closeIdle closes c after the idle time if it was not asked by then.
func (h *host) closeIdle(c *memConn) {
	c.asks++
	c.last = time.Now()
	asks := c.asks
	if h.idle > 0 {
		time.AfterFunc(h.idle, func() {
			h.net.mu.Lock()
			defer h.net.mu.Unlock()
			if h.conns[c] && c.asks == asks {
				h.hangUp1(c)
			}
		})
	}
}

func (h *host) hangUp1(c *memConn) {
	close(c.eof)
	delete(h.conns, c)
}

// receive brings a request to the endpoint.
func (h *host) receive(c *memConn, way time.Duration) {
	time.Sleep(way)
	h.net.mu.Lock()
	if !h.conns[c] {
		h.net.mu.Unlock()
		return
	}
	h.asked++
	if h.crossing > 0 && time.Since(c.last) >= h.crossing {
		h.hangUp1(c)
		h.net.mu.Unlock()
		return
	}
	c.asks++
	if h.frozen {
		h.waiting = append(h.waiting, c)
	}
	unheard := h.frozen || h.dark || h.dropped
	h.net.mu.Unlock()
	if unheard {
		return
	}
	h.answer(c)
}

func (h *host) answer(c *memConn) {
	h.net.mu.Lock()
	way := h.slow + h.leg()
	h.net.mu.Unlock()
	time.Sleep(way)
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch {
	case h.dark || !h.conns[c]:
	case h.frozen:
		h.waiting = append(h.waiting, c)
	case h.hangUp:
		h.hangUp1(c)
	default:
		c.data <- h.response()
		if h.close {
			h.hangUp1(c)
		} else {
			h.closeIdle(c)
		}
	}
}

func (h *host) response() string {
	if h.raw != "" {
		return h.raw
	}
	head := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 2\r\n", cmp.Or(h.status, 200))
	if h.id != "" {
		head += fleet.IDHeader + ": " + h.id + "\r\n"
	}
	if h.close {
		head += "Connection: close\r\n"
	}
	return head + "\r\nok"
}

// memConn is the client's end of a connection.
type memConn struct {
	net.Conn // the methods that are not called
	host     *host
	data     chan string
	eof      chan struct{} // closed by the endpoint
	asks     int           // and answers; owned by the endpoint, as is last
	last     time.Time     // when it accepted or answered

	once   sync.Once
	closed chan struct{} // by the client

	rest     string
	deadline time.Time
}

func (c *memConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *memConn) SetWriteDeadline(time.Time) error  { return nil }
func (c *memConn) SetReadDeadline(t time.Time) error { c.deadline = t; return nil }

func (c *memConn) Write(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case <-c.eof:
		return 0, syscall.EPIPE
	default:
	}
	h := c.host
	h.net.mu.Lock()
	way := h.leg()
	h.net.mu.Unlock()
	go h.receive(c, way)
	return len(b), nil
}

func (c *memConn) Read(b []byte) (int, error) {
	if c.rest == "" {
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *memConn) more() error {
	var timeout <-chan time.Time
	if !c.deadline.IsZero() {
		timeout = time.After(time.Until(c.deadline))
	}
	select {
	case c.rest = <-c.data:
		return nil
	case <-c.closed:
		return net.ErrClosed
	case <-timeout:
		return os.ErrDeadlineExceeded
	case <-c.eof:
	}
	select {
	case c.rest = <-c.data: // what was sent before the end
		return nil
	default:
		return io.EOF
	}
}

// memSocket is a connected UDP socket.
type memSocket struct {
	net.Conn // the methods that are not called
	host     *host
	sent     int
	deadline time.Time
}

func (*memSocket) Close() error                        { return nil }
func (s *memSocket) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *memSocket) Write(b []byte) (int, error)       { s.sent++; return len(b), nil }

func (s *memSocket) Read([]byte) (int, error) {
	if h := s.host.get(); s.sent > 0 && (h.refusing || h.walled) && !h.dark && !h.secret {
		return 0, syscall.ECONNREFUSED
	}
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}
