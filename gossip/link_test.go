package gossip

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
)

// linked starts an EDS server and an upstream, and links them.
func linked(t *testing.T, of Options) (server, member *Pool, l *Link) {
	t.Helper()
	of.Member = edsMember()
	server = open(t, of)
	of.Member, of.SigningKey, of.Seeds = upstreamMember(), nil, seedOf(server)
	member = open(t, of)
	sees(t, member, server.Self().ID, is(fleet.Alive))
	m := sees(t, server, member.Self().ID, is(fleet.Alive))
	l, err := server.Link(t.Context(), &m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return server, member, l
}

func report(t *testing.T, l *Link) Report {
	t.Helper()
	if err := l.Ask(); err != nil {
		t.Fatal(err)
	}
	r, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLinkReportsAndCarriesAnnouncements(t *testing.T) {
	key, pub := newKey(1)
	a, b := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 32)
	for name, opts := range map[string]Options{
		"plain":  {},
		"keys":   {Keys: [][]byte{a, b}},
		"signed": {Keys: [][]byte{b}, SigningKey: key, EDSKeys: []ed25519.PublicKey{pub}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, member, l := linked(t, opts)
			if r := report(t, l); r != (Report{Revision: 1, Health: fleet.Healthy}) {
				t.Errorf("it reports %+v", r)
			}
			m := member.Self()
			m.Endpoint.Health = fleet.Unhealthy
			if _, err := member.Announce(m); err != nil {
				t.Fatal(err)
			}
			if r := report(t, l); r != (Report{Revision: 2, Health: fleet.Unhealthy}) {
				t.Errorf("it reports %+v", r)
			}
			// The word goes ahead of the report on the same stream, or soon after.
			go l.Read()
			sees(t, server, m.ID, func(m fleet.Member) bool { return m.Endpoint.Health == fleet.Unhealthy })
		})
	}
}

// linkEnded is what a member logs when it tells an EDS server that it is alive.
const linkEnded = "the link of an EDS server has ended"

func TestBothEndsNoticeThatALinkEnds(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		log := newBook(slog.LevelDebug)
		server, _, l := linked(t, Options{Logger: log.logger()})
		at := server.Self()
		l.Close()
		log.wait(t, linkEnded, at.ID.String(), at.Gossip.String())
	})
	t.Run("member", func(t *testing.T) {
		t.Parallel()
		server, member, l := linked(t, Options{})
		m, _ := find(server, member.Self().ID)
		go member.Close()
		if _, err := l.Read(); err == nil {
			t.Fatal("the server does not notice")
		}
		eventually(t, func() bool { // its port closes a moment later
			_, err := server.Link(t.Context(), &m)
			return errors.Is(err, syscall.ECONNREFUSED)
		}, "a link to a member that has gone is not refused")
	})
}

// A server that links again, since its own end broke, is not lost by that.
func TestANewLinkTakesThePlaceOfAnOldOne(t *testing.T) {
	t.Parallel()
	log := newBook(slog.LevelDebug)
	server, member, old := linked(t, Options{Logger: log.logger()})
	m, _ := find(server, member.Self().ID)
	l, err := server.Link(t.Context(), &m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	report(t, l)
	if _, err := old.Read(); err == nil {
		t.Error("the old one still stands")
	}
	if lost := log.grep(linkEnded); len(lost) > 0 {
		t.Error(lost)
	}
}

// A member that was stopped for a while may hold a server for dead that is not. The server
// cannot hear of it until it lets the link in.
func TestAServerThatIsHeldForDeadGetsALink(t *testing.T) {
	t.Parallel()
	server, member, old := linked(t, Options{})
	old.Close()
	at, _ := find(member, server.Self().ID)
	m, _ := find(server, member.Self().ID)
	at.Liveness = fleet.Dead
	member.members.put(at.ID.String(), at)
	l, err := server.Link(t.Context(), &m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	report(t, l)
	left := at
	left.Liveness = fleet.Left
	member.members.put(at.ID.String(), left)
	if l, err := server.Link(t.Context(), &m); err == nil {
		l.Close()
		t.Error("a server that has left has a link")
	}
}

func TestOnlyEDSServersGetLinks(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	q := open(t, Options{Seeds: seedOf(p)})
	sees(t, p, q.Self().ID, is(fleet.Alive))
	m := sees(t, q, p.Self().ID, is(fleet.Alive))
	if l, err := q.Link(t.Context(), &m); err == nil {
		l.Close()
		t.Error("an upstream has a link to another one")
	}
}

// An older version ignores the offer; a connection would be an error in its log.
func TestAMemberThatDoesNotAnswerTheOfferIsNotDialed(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Member: edsMember()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := upstreamMember()
	m.Gossip = ln.Addr().(*net.TCPAddr).AddrPort()
	if _, err := p.Link(t.Context(), &m); !errors.Is(err, ErrNoLink) {
		t.Errorf("the error is %v", err)
	}
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if conn, err := ln.Accept(); err == nil {
		conn.Close()
		t.Error("it was dialed")
	}
}

func TestLinksWorkThroughARotationOfKeys(t *testing.T) {
	t.Parallel()
	a, b := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	server, member, _ := linked(t, Options{Keys: [][]byte{a}})
	m, _ := find(server, member.Self().ID)
	for i, step := range []func(*Pool) error{
		func(p *Pool) error { return p.keyring.ring.AddKey(b) },
		func(p *Pool) error { return p.keyring.ring.UseKey(b) },
		func(p *Pool) error { return p.keyring.ring.RemoveKey(a) },
	} {
		for _, p := range []*Pool{member, server} {
			if err := step(p); err != nil {
				t.Fatal(err)
			}
			l, err := server.Link(t.Context(), &m)
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			report(t, l)
			l.Close()
		}
	}
}

// A peer that opens connections and sends nothing, or begins a link and stops there,
// must not keep the others out.
func TestStrangersConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	server, member, _ := linked(t, Options{Bounds: Bounds{MaxConnections: 40}})
	m, _ := find(server, member.Self().ID)
	addr := m.Gossip.String()
	const most = 40
	for i := range most + 2*maxQueued {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			fmt.Fprint(conn, link.Preamble)
		}
	}
	s := member.sorted
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) >= most/2
	}, "no connection waits")
	s.mu.Lock()
	open := len(s.open)
	s.mu.Unlock()
	member.links.mu.Lock()
	shaking := len(member.links.shakes)
	member.links.mu.Unlock()
	if open > most || len(s.slots) > most+maxQueued || shaking > maxHandshakesPerAddr {
		t.Errorf("%d connections are open, %d with those that wait, %d handshakes are under way", open, len(s.slots), shaking)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for { // the bounds in time let it in
		l, err := server.Link(ctx, &m)
		if err == nil {
			report(t, l)
			l.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// connFrom is a connection from an address.
type connFrom struct {
	net.Conn
	from string
}

func (c connFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from + ":1234"))
}

func TestHandshakesOfOneAddressLeaveRoomForOthers(t *testing.T) {
	l := newLinks(link.Identity{})
	begun := 0
	for range maxHandshakes {
		conn, other := net.Pipe()
		other.Close()
		if l.begin(&connFrom{conn, "10.0.0.66"}) {
			begun++
		}
	}
	if begun != maxHandshakesPerAddr {
		t.Errorf("%d handshakes with one address are under way", begun)
	}
	server := &connFrom{nil, "10.0.0.1"}
	if !l.begin(server) {
		t.Error("another address is kept out")
	}
	l.end(server)
}

func TestReportsThatCannotBeReadAreRefused(t *testing.T) {
	for _, h := range []fleet.Health{fleet.Healthy, fleet.Unhealthy, fleet.Draining} {
		want := Report{Revision: 1 << 60, Health: h}
		if got, err := decodeReport(want.encode()); err != nil || got != want {
			t.Errorf("%+v is read as %+v: %v", want, got, err)
		}
	}
	for _, b := range [][]byte{{frameState}, make([]byte, stateSize+1), {frameState, 0, 0, 0, 0, 0, 0, 0, 0, 3}} {
		if r, err := decodeReport(b); err == nil {
			t.Errorf("%v is read as %+v", b, r)
		}
	}
}
