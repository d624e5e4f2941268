package gossip

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// sockets is memberlist's own transport, but that its outgoing connections end
// with ctx: a push/pull with a member that hangs must not hold up a shutdown.
type sockets struct {
	*memberlist.NetTransport
	ctx context.Context
}

// bindTries is for port 0: the kernel picks a free TCP port, whose UDP twin may
// be taken.
const bindTries = 10

func listen(ctx context.Context, bind netip.AddrPort, logger *log.Logger) (*sockets, error) {
	tries := 1
	if bind.Port() == 0 {
		tries = bindTries
	}
	var err error
	for range tries {
		var t *memberlist.NetTransport
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{bind.Addr().String()}, BindPort: int(bind.Port()), Logger: logger,
		})
		if err == nil {
			return &sockets{NetTransport: t, ctx: ctx}, nil
		}
	}
	return nil, fmt.Errorf("listen for gossip on %s: %w", bind, err)
}

func (s *sockets) port() uint16 { return uint16(s.GetAutoBindPort()) }

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (s *sockets) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(s.ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(timeout)) // memberlist sets none for messages
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	return boundConn{Conn: conn, stop: stop}, nil
}

// DialTimeout implements memberlist.Transport.
func (s *sockets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return s.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
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
