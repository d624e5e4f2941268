package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// ErrNoLink is returned for a member that has not said that it takes links: one of an
// older version, or one that is not heard.
var ErrNoLink = errors.New("member has not said that it takes links")

// The kinds of frame of a link, which are their first byte. Others are ignored.
const (
	frameAsk   = 1 // from the server: report. No body.
	frameState = 2 // from the member: its report
	frameWord  = 3 // from the member: its metadata, in place of a message.Word
)

// stateSize is that of a report: its kind, the revision, the health.
const stateSize = 1 + 8 + 1

// Report is what a member says over a link.
type Report struct {
	Revision uint64 // of its last announcement
	Health   fleet.Health
}

// Link is a stream that this process, an EDS server, holds to another member. It is
// authenticated where the pool has keys. That it breaks says that the member's process
// has ended, or that the connection has. Read may be called from one goroutine at a
// time, the other methods from any.
type Link struct {
	First Report // what the member said when it took the link

	pool *Pool
	conn *link.Conn
}

// Link opens a stream to m, which must have told this process that it takes one: it is
// asked over UDP the first time, as by Vouch. The dial's error is wrapped. The caller
// closes the link.
func (p *Pool) Link(ctx context.Context, m *fleet.Member) (*Link, error) {
	if !m.Gossip.IsValid() || !p.links.takes(m.ID) && !p.offer(ctx, m) {
		return nil, ErrNoLink
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeWait)
	defer cancel()
	conn, err := p.dial(ctx, m.Gossip.String())
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", m.ID, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	l, err := p.shake(conn, m)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("link to %s: %w", m.ID, err)
	}
	p.noteTaker(m.ID)
	_ = conn.SetDeadline(noDeadline)
	return l, nil
}

// shake returns once the member has taken the link, which its first report says.
func (p *Pool) shake(conn net.Conn, m *fleet.Member) (*Link, error) {
	c, err := p.links.Dial(conn, m.ID)
	if err != nil {
		return nil, err
	}
	l := &Link{pool: p, conn: c}
	l.First, err = l.Read()
	return l, err
}

// offer asks m whether it takes links, and reports whether it does.
func (p *Pool) offer(ctx context.Context, m *fleet.Member) bool {
	takes := p.challenge(ctx, m, message.Offer)
	if takes {
		p.noteTaker(m.ID)
	}
	return takes
}

// dial opens a connection whose end is the caller's.
func (p *Pool) dial(ctx context.Context, addr string) (net.Conn, error) {
	if t, ok := p.transport.(contextDialer); ok {
		return t.DialContext(ctx, addr)
	}
	return p.transport.DialTimeout(addr, within(ctx, handshakeWait))
}

// contextDialer is a transport that can stop dialing.
type contextDialer interface {
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// Ask asks the member to report. It does not wait for the answer.
func (l *Link) Ask() error { return l.conn.Write([]byte{frameAsk}) }

// Read returns the member's next report, with or without having asked. What the member
// announces meanwhile goes to the pool.
func (l *Link) Read() (Report, error) {
	for {
		b, err := l.conn.Read()
		switch {
		case err != nil:
			return Report{}, err
		case len(b) == 0:
		case b[0] == frameState:
			return decodeReport(b)
		case b[0] == frameWord:
			word := message.Message{Kind: message.Word, Member: l.conn.Peer, Sender: l.conn.Peer, Body: b[1:]}
			if err := l.pool.accept(word); err != nil {
				return Report{}, err
			}
		}
	}
}

// Close ends the link.
func (l *Link) Close() error { return l.conn.Close() }

func (r Report) encode() []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, stateSize), frameState), r.Revision)
	return append(b, healthCode(r.Health))
}

func decodeReport(b []byte) (Report, error) {
	if len(b) != stateSize {
		return Report{}, fmt.Errorf("report is %d bytes long", len(b))
	}
	r := Report{Revision: binary.BigEndian.Uint64(b[1:])}
	switch b[9] {
	case 0:
		r.Health = fleet.Healthy
	case 1:
		r.Health = fleet.Unhealthy
	case 2:
		r.Health = fleet.Draining
	default:
		return r, fmt.Errorf("report has the unknown health %d", b[9])
	}
	return r, nil
}

func healthCode(h fleet.Health) byte {
	switch h {
	case fleet.Unhealthy:
		return 1
	case fleet.Draining:
		return 2
	default:
		return 0
	}
}
