package middleware

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// dialled is a listener whose connections come from the addresses that are sent to it.
type dialled struct {
	net.Listener
	from chan string
}

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func (d dialled) Accept() (net.Conn, error) {
	addr, ok := <-d.from
	if !ok {
		return nil, net.ErrClosed
	}
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }() // until it is closed
	return from{here, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}, nil
}

func TestConnectionLimitPerAddress(t *testing.T) {
	refused := 0
	d := dialled{from: make(chan string, 20)}
	l := LimitConnections(d, 2, func() { refused++ })
	accept := func(addrs ...string) net.Conn {
		t.Helper()
		for _, a := range addrs {
			d.from <- a
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	one, two := accept("10.0.0.1:1"), accept("[::ffff:10.0.0.1]:2") // the same
	if got := accept("10.0.0.1:3", "10.0.0.1:4", "10.0.0.2:1").RemoteAddr().String(); got != "10.0.0.2:1" || refused != 2 {
		t.Errorf("the next that gets in is %s, %d were refused", got, refused)
	}
	six := accept("[2001:db8::1]:1")
	accept("[2001:db8::2]:1") // of the same party, as far as anybody can tell
	if got := accept("[2001:db8::3]:1", "[2001:db8:0:1::1]:1").RemoteAddr().String(); got != "[2001:db8:0:1::1]:1" || refused != 3 {
		t.Errorf("the next that gets in is %s, %d were refused", got, refused)
	}
	for range 3 {
		_ = one.Close() // gives back one place, however often
	}
	if got := accept("10.0.0.1:5", "10.0.0.1:6", "10.0.0.3:1").RemoteAddr().String(); got != "10.0.0.1:5" {
		t.Errorf("the place of one that is closed is given to %s", got)
	}
	if got := accept().RemoteAddr().String(); got != "10.0.0.3:1" || refused != 4 {
		t.Errorf("the next that gets in is %s, %d were refused", got, refused)
	}
	for _, c := range []net.Conn{two, six} {
		_ = c.Close()
	}
	close(d.from)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("once the listener is closed: %v", err)
	}
}

func TestRefusedConnectionIsClosedAndAddressesAreForgotten(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan struct{}, 1)
	l := LimitConnections(lis, 1, func() { refused <- struct{}{} }).(*limited)
	t.Cleanup(func() { _ = l.Close() })
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		return conn
	}
	dial()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	second := dial()
	<-refused
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("the one over the bound reads %v", err)
	}
	_ = first.Close()
	dial()
	third := <-accepted
	_ = third.Close()
	if n := len(l.open); n != 0 {
		t.Errorf("%d addresses are kept", n)
	}
	_ = l.Close()
	<-accepted
}
