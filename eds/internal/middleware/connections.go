package middleware

import (
	"net"
	"net/netip"
	"sync"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// DefaultMaxConnections is how many connections one address may have at a listener.
const DefaultMaxConnections = 1000

// LimitConnections returns lis with at most so many connections of one address at a
// time: further ones are closed as they come, and refused is called for each.
func LimitConnections(lis net.Listener, most int, refused func()) net.Listener {
	return &limited{Listener: lis, most: most, refused: refused, open: make(map[netip.Addr]int)}
}

type limited struct {
	net.Listener
	most    int
	refused func()

	mu   sync.Mutex
	open map[netip.Addr]int // connections, by address
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := peer(conn)
		if l.enter(addr) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { l.leave(addr) })}, nil
		}
		_ = conn.Close() // no request was served
		l.refused()
	}
}

// peer is who conn is with; all of those whose address is unknown share one allowance.
func peer(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return fleet.Party(tcp.AddrPort().Addr())
}

func (l *limited) enter(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr] >= l.most {
		return false
	}
	l.open[addr]++
	return true
}

func (l *limited) leave(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr]--; l.open[addr] == 0 {
		delete(l.open, addr)
	}
}

// counted is a connection that has a place.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite lets [net/http] say that it is done before it closes on what the client
// still sends.
func (c *counted) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
