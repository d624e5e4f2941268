package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// bindTries is for port 0: the kernel picks a free TCP port, whose UDP twin may
	// be taken.
	bindTries = 10

	maxPacket     = 64 << 10               // bytes; no UDP packet is larger
	receiveBuffer = 2 << 20                // bytes asked of the kernel, for bursts; less if it refuses
	acceptAgain   = 100 * time.Millisecond // after an error, such as too many open files
)

// keepAlive finds out within half a minute that the host at the other end is gone:
// links may say nothing for long.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// sockets is a transport of memberlist's over UDP and TCP. Unlike memberlist's own
// it reads packets into one buffer and keeps only what came: a fresh 64 KiB for each
// made most of the garbage of a joining member. Its outgoing connections end with
// ctx: a push/pull with a member that hangs must not hold up a shutdown.
type sockets struct {
	ctx context.Context
	log *log.Logger
	tcp *net.TCPListener
	udp *net.UDPConn

	packets chan *memberlist.Packet
	streams chan net.Conn
	readers sync.WaitGroup

	once   sync.Once
	closed chan struct{}
}

var _ memberlist.NodeAwareTransport = (*sockets)(nil)

func listen(ctx context.Context, bind netip.AddrPort, logger *log.Logger) (*sockets, error) {
	tries := 1
	if bind.Port() == 0 {
		tries = bindTries
	}
	var err error
	for range tries {
		s := &sockets{ctx: ctx, log: logger, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), closed: make(chan struct{})}
		if err = s.bind(bind); err == nil {
			s.readers.Go(s.accept)
			s.readers.Go(s.receive)
			return s, nil
		}
	}
	return nil, fmt.Errorf("listen for gossip on option Bind %s: %w", bind, err)
}

func (s *sockets) bind(addr netip.AddrPort) (err error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	ln, err := lc.Listen(s.ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	s.tcp = ln.(*net.TCPListener)
	if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), s.port()))); err != nil {
		return errors.Join(err, s.tcp.Close())
	}
	for size := receiveBuffer; size > 0 && s.udp.SetReadBuffer(size) != nil; {
		size /= 2
	}
	return nil
}

func (s *sockets) port() uint16 { return s.tcp.Addr().(*net.TCPAddr).AddrPort().Port() }

// accept hands connections to memberlist until Shutdown.
func (s *sockets) accept() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			if s.ended(err, "accept a connection") {
				return
			}
			continue
		}
		select {
		case s.streams <- conn:
		case <-s.closed:
			_ = conn.Close()
			return
		}
	}
}

// receive hands packets to memberlist until Shutdown.
func (s *sockets) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if s.ended(err, "read a packet") {
				return
			}
			continue
		}
		if n == 0 {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		select {
		case s.packets <- &memberlist.Packet{Buf: bytes.Clone(buf[:n]), From: net.UDPAddrFromAddrPort(from), Timestamp: now}:
		case <-s.closed:
			return
		}
	}
}

// ended reports whether err says that the socket was closed. If not it logs err and
// waits, since the next attempt may fail alike.
func (s *sockets) ended(err error, what string) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	s.log.Printf("[WARN] memberlist: cannot %s: %v", what, err)
	select {
	case <-time.After(acceptAgain):
		return false
	case <-s.closed:
		return true
	}
}

// FinalAdvertiseAddr implements memberlist.Transport. The address is always given.
func (s *sockets) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("gossip address to announce: %w", err)
	}
	return addr.Unmap().AsSlice(), port, nil
}

// WriteTo implements memberlist.Transport.
func (s *sockets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = s.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (s *sockets) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return s.WriteTo(b, a.Addr)
}

// PacketCh implements memberlist.Transport.
func (s *sockets) PacketCh() <-chan *memberlist.Packet { return s.packets }

// StreamCh implements memberlist.Transport.
func (s *sockets) StreamCh() <-chan net.Conn { return s.streams }

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (s *sockets) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.DialContext(ctx, a.Addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(timeout)) // memberlist sets none for messages
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	return boundConn{Conn: conn, stop: stop}, nil
}

// DialContext opens a connection whose deadlines and end are the caller's.
func (s *sockets) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	return d.DialContext(ctx, "tcp", addr)
}

// DialTimeout implements memberlist.Transport.
func (s *sockets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return s.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// Shutdown implements memberlist.Transport. It returns once nothing reads any more.
func (s *sockets) Shutdown() error {
	var err error
	s.once.Do(func() {
		close(s.closed)
		err = errors.Join(s.tcp.Close(), s.udp.Close())
	})
	s.readers.Wait()
	return err
}

type boundConn struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (c boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
