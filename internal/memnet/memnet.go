// Package memnet is an in-memory network for tests of code that uses memberlist. It works
// under testing/synctest, where real sockets do not, and can partition members, lose
// packets and add latency. A dial to a partitioned member times out; a dial to an address
// without a member is refused.
package memnet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// queue is the number of packets that a member can leave unread before more are lost.
const queue = 4096

// Network connects transports. All methods may be called from any goroutine.
type Network struct {
	mu     sync.Mutex
	rand   *rand.Rand
	hosts  map[netip.AddrPort]*transport
	island map[netip.AddrPort]int // the partition that an address is in; absent: the main one
	loss   map[netip.AddrPort]float64
	lag    map[netip.AddrPort]time.Duration
	cuts   int
}

// New returns a network whose losses and delays are determined by seed.
func New(seed uint64) *Network {
	return &Network{
		rand: rand.New(rand.NewPCG(seed, seed)), hosts: make(map[netip.AddrPort]*transport),
		island: make(map[netip.AddrPort]int), loss: make(map[netip.AddrPort]float64),
		lag: make(map[netip.AddrPort]time.Duration),
	}
}

// Transport attaches a member at addr, and replaces any other one there. Shutdown detaches it.
func (n *Network) Transport(addr netip.AddrPort) memberlist.Transport {
	t := &transport{net: n, addr: addr, packets: make(chan *memberlist.Packet, queue), streams: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[addr] = t
	return t
}

// Cut separates addrs from all other members, but not from each other. Open streams stay
// open; memberlist's are short.
func (n *Network) Cut(addrs ...netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts++
	for _, a := range addrs {
		n.island[a] = n.cuts
	}
}

// Heal reverses Cut for addrs.
func (n *Network) Heal(addrs ...netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		delete(n.island, a)
	}
}

// Loss sets the share, 0 to 1, of the packets to addr that are lost. Streams lose
// nothing, as TCP's do not.
func (n *Network) Loss(addr netip.AddrPort, share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss[addr] = share
}

// Lag delays each packet and each dial to addr at random by up to most, as if its machine
// were overloaded.
func (n *Network) Lag(addr netip.AddrPort, most time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lag[addr] = most
}

// late returns the delay of the next packet or dial to addr.
func (n *Network) late(addr netip.AddrPort) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lag[addr] == 0 {
		return 0
	}
	return time.Duration(n.rand.Int64N(int64(n.lag[addr])))
}

// route returns the transport at to, nil if there is none. cut is true when from cannot reach
// it, lost when this packet is lost.
func (n *Network) route(from netip.AddrPort, to string) (dest *transport, cut, lost bool) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, false, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[addr], n.island[from] != n.island[addr], n.rand.Float64() < n.loss[addr]
}

type transport struct {
	net     *Network
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().AsSlice(), int(t.addr.Port()), nil
}

// WriteTo implements memberlist.Transport. Like UDP, it does not report a lost packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	dest, cut, lost := t.net.route(t.addr, addr)
	if dest == nil || cut || lost {
		return now, nil
	}
	p := &memberlist.Packet{Buf: bytes.Clone(b), From: net.UDPAddrFromAddrPort(t.addr), Timestamp: now}
	if late := t.net.late(dest.addr); late > 0 {
		time.AfterFunc(late, func() { dest.deliver(p) })
	} else {
		dest.deliver(p)
	}
	return now, nil
}

// deliver drops p when the queue is full.
func (t *transport) deliver(p *memberlist.Packet) {
	select {
	case t.packets <- p:
	default:
	}
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	dest, cut, _ := t.net.route(t.addr, addr)
	switch {
	case cut:
		time.Sleep(timeout)
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	case dest == nil:
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	late := t.net.late(dest.addr)
	if late >= timeout {
		time.Sleep(timeout)
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	}
	time.Sleep(late)
	timeout -= late
	here, there := net.Pipe()
	select {
	case dest.streams <- there:
		return here, nil
	case <-dest.closed:
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	case <-time.After(timeout):
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	}
}

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	t.once.Do(func() { close(t.closed) })
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.net.hosts[t.addr] == t {
		delete(t.net.hosts, t.addr)
	}
	return nil
}
