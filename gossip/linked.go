package gossip

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
)

const (
	// handshakeWait bounds a handshake, and at the server's end the dial before it.
	handshakeWait = 3 * time.Second

	// maxHandshakes are under way at once, so many of them with one IP address: whoever
	// begins them and goes no further keeps out no other address. maxLinks stand: there
	// are few EDS servers.
	maxHandshakes, maxHandshakesPerAddr, maxLinks = 32, 8, 64

	takersKept = 1024 // beyond the members that are there now; they come and go
)

// noDeadline takes a deadline back.
var noDeadline time.Time

// links are this process's streams: those that EDS servers hold to it, and who has said
// that it takes some.
type links struct {
	link.Identity

	mu     sync.Mutex
	shakes map[net.Conn]netip.Addr  // handshakes under way, with whom
	open   map[uuid.UUID]*link.Conn // by server; nil once closed
	takers map[uuid.UUID]bool       // members that take links
}

func newLinks(i link.Identity) *links {
	return &links{
		Identity: i, shakes: make(map[net.Conn]netip.Addr),
		open: make(map[uuid.UUID]*link.Conn), takers: make(map[uuid.UUID]bool),
	}
}

// takes reports whether the member has said that it takes links.
func (l *links) takes(member uuid.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takers[member]
}

// noteTaker notes that a member takes links, and forgets those that have gone.
func (p *Pool) noteTaker(member uuid.UUID) {
	p.links.mu.Lock()
	defer p.links.mu.Unlock()
	p.links.takers[member] = true
	if len(p.links.takers) <= 2*p.members.others()+takersKept {
		return
	}
	for id := range p.links.takers {
		if _, ok := p.members.find(id); !ok {
			delete(p.links.takers, id)
		}
	}
}

// begin reports whether a handshake over conn may begin.
func (l *links) begin(conn net.Conn) bool {
	party, same := fleet.PartyOf(conn.RemoteAddr().String()), 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range l.shakes {
		if party.IsValid() && other == party {
			same++
		}
	}
	if l.open == nil || len(l.shakes) >= maxHandshakes || same >= maxHandshakesPerAddr {
		return false
	}
	l.shakes[conn] = party
	return true
}

func (l *links) end(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shakes, conn)
}

// add reports whether c may stand. It takes the place of one that the same server had.
func (l *links) add(c *link.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.open[c.Peer]
	if l.open == nil || old == nil && len(l.open) >= maxLinks {
		return false
	}
	if old != nil {
		_ = old.Close()
	}
	l.open[c.Peer] = c
	return true
}

// remove reports whether c stood, which it does not once another took its place.
func (l *links) remove(c *link.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[c.Peer] != c {
		return false
	}
	delete(l.open, c.Peer)
	return true
}

// to is the link of an EDS server; nil for none.
func (l *links) to(server uuid.UUID) *link.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[server]
}

// close ends all links, and lets none in any more.
func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.shakes {
		_ = conn.Close()
	}
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open = nil
}

// acceptLink serves a link that an EDS server opens, until it ends.
func (p *Pool) acceptLink(conn net.Conn) {
	defer conn.Close()
	if !p.links.begin(conn) {
		return
	}
	var server *fleet.Member
	_ = conn.SetDeadline(time.Now().Add(handshakeWait))
	c, err := p.links.Accept(conn, func(id uuid.UUID) (known bool) {
		server, known = p.members.find(id)
		return known && server.Role == fleet.RoleEDS && server.Liveness != fleet.Left
	})
	p.links.end(conn)
	if err != nil {
		p.log.Debug("refused a link", "from", conn.RemoteAddr(), "reason", err)
		return
	}
	_ = conn.SetDeadline(noDeadline)
	if !p.links.add(c) { // before the server hears that it stands
		return
	}
	defer func() {
		if p.links.remove(c) && p.ctx.Err() == nil {
			lost := lostServer{id: c.Peer, gossip: server.Gossip}
			p.log.Debug("the link of an EDS server has ended", "server", lost.id, "gossip", lost.gossip)
			p.members.lose(lost)
		}
	}()
	for err = c.Write(p.report().encode()); err == nil; {
		var b []byte
		if b, err = c.Read(); err == nil && len(b) > 0 && b[0] == frameAsk {
			err = c.Write(p.report().encode())
		}
	}
}

// report is what this process says over its links.
func (p *Pool) report() Report { return *p.reported.Load() }

// tellLinked sends the metadata over a server's link, if there is one, and reports
// whether that went well.
func (p *Pool) tellLinked(server uuid.UUID, meta []byte) bool {
	c := p.links.to(server)
	if c == nil {
		return false
	}
	if err := c.Write(append([]byte{frameWord}, meta...)); err != nil {
		_ = c.Close()
		return false
	}
	return true
}
