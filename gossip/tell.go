package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// pings is how many Ping sends at once: packets get lost.
const pings = 3

// Ping sends three pings over UDP at once to the member of this id at its gossip
// address, and reports whether any was answered within the profile's probe
// timeout (250 ms for LAN) and before ctx is done. Another member at that address
// does not answer.
func (p *Pool) Ping(ctx context.Context, id string, addr netip.AddrPort) bool {
	if !addr.IsValid() || p.ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.probeTimeout)
	defer cancel()
	answers := make(chan bool, pings) // each goroutine ends by itself after the probe timeout
	for range pings {
		go func() {
			_, err := p.list.Ping(id, net.UDPAddrFromAddrPort(addr))
			answers <- err == nil
		}()
	}
	for range pings {
		select {
		case answered := <-answers:
			if answered {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// TellMissing tells m, at its gossip address and over TCP, that this process
// holds it for dead although it is there; m then comes back by itself. It returns
// an error when the message could not be sent within the profile's TCP timeout
// (3 s for LAN). That it was sent does not mean that it was heeded.
func (p *Pool) TellMissing(m fleet.Member) error {
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	if !m.Gossip.IsValid() {
		return fmt.Errorf("tell %s that it is missing: its gossip address is not known", m.ID)
	}
	to := &memberlist.Node{Name: m.ID.String(), Addr: m.Gossip.Addr().AsSlice(), Port: m.Gossip.Port()}
	if err := p.list.SendReliable(to, missingMessage{member: m.ID, sender: p.id}.encode()); err != nil {
		return fmt.Errorf("tell %s at %s that it is missing: %w", m.ID, m.Gossip, err)
	}
	return nil
}

// Missing receives when another member said that it holds this one for dead. It
// holds one signal. Without a gossip key anybody can say so: what is done about it
// must be harmless when it is done for nothing, and not be done often.
func (p *Pool) Missing() <-chan struct{} { return p.missing }

// receive takes a message from another member. It must not block.
func (p *Pool) receive(b []byte) {
	m, err := decodeMessage(b)
	switch {
	case errors.Is(err, errUnknownKind):
	case err != nil:
		p.log.Log(noContext, p.quiet.level("message", slog.LevelWarn), "ignored a message that cannot be read", "reason", err)
	case m.member == p.id: // else it was for who had the address before
		p.log.Log(noContext, p.quiet.level("missing", slog.LevelInfo), "another member holds this one for dead", "member", m.sender)
		select {
		case p.missing <- struct{}{}:
		default:
		}
	}
}
