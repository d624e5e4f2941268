package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// pings is how many Ping sends at once: packets get lost.
const pings = 3

const (
	maxBehind    = 400 // bytes of Receipt.Behind
	keepReceipts = 64  // that nobody has read yet; later ones are dropped
)

// ReceiptState says how far the word of a member has come.
type ReceiptState byte

// The states of a receipt.
const (
	Pending ReceiptState = 1 // some Envoy has not acknowledged it yet
	Serving ReceiptState = 2 // every Envoy has the endpoint
	Gone    ReceiptState = 3 // no Envoy has it
	Denied  ReceiptState = 4 // the server serves it to nobody
)

// Receipt is an EDS server's word on how far a member's announcement has come.
type Receipt struct {
	Server   uuid.UUID // who says so; filled in by the receiver
	Revision uint64    // of the announcement, see fleet.Member
	State    ReceiptState
	Clients  int    // xDS clients of the service at that server
	Behind   string // with Pending: the node ids that are missing; with Denied: why; shortened
}

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
func (p *Pool) TellMissing(m *fleet.Member) error {
	if err := p.send(m, message{kind: messageMissing, member: m.ID, sender: p.id}); err != nil {
		return fmt.Errorf("tell %s that it is missing: %w", m.ID, err)
	}
	return nil
}

// SendReceipt tells m how far its announcement has come, as TellMissing does.
func (p *Pool) SendReceipt(m *fleet.Member, r Receipt) error {
	if err := p.send(m, message{kind: messageReceipt, member: m.ID, sender: p.id, body: r.encode()}); err != nil {
		return fmt.Errorf("send a receipt to %s: %w", m.ID, err)
	}
	return nil
}

func (p *Pool) send(m *fleet.Member, msg message) error {
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	if !m.Gossip.IsValid() {
		return errors.New("its gossip address is not known")
	}
	return p.list.SendReliable(nodeOf(m), p.envelopes.seal(m.ID, msg))
}

// Missing receives when another member said that it holds this one for dead. It
// holds one signal. Without a gossip key anybody can say so: what is done about it
// must be harmless when it is done for nothing, and not be done often.
func (p *Pool) Missing() <-chan struct{} { return p.missing }

// Receipts receives what EDS servers say of this process's announcements. A reader
// that does not keep up loses the later ones.
func (p *Pool) Receipts() <-chan Receipt { return p.receipts }

// receive takes a message from another member. It must not block.
func (p *Pool) receive(b []byte) {
	m, err := p.envelopes.open(b)
	if err == nil {
		err = p.accept(m)
	}
	if errors.Is(err, errUnsigned) || errors.Is(err, errReplayed) {
		p.counts.forged.Add(1)
	}
	switch {
	case err == nil, errors.Is(err, errUnknownKind):
	case errors.Is(err, errNotMet):
		p.log.Debug("ignored a message of a member that is not known yet", "reason", err)
	default:
		p.log.Log(noContext, p.quiet.level("message", slog.LevelWarn), "ignored a message that cannot be read", "reason", err)
	}
}

func (p *Pool) accept(m message) error {
	switch {
	case m.kind == messageWord:
		word, err := decodeWord(m)
		if err == nil {
			err = p.members.vet(word)
		}
		if err == nil {
			p.members.hear(word)
		}
		return err
	case m.kind == messageHere:
		return p.called(m)
	case m.member != p.id: // it was for who had the address before
		return nil
	case m.kind == messageChallenge:
		p.challenged(m, messageAnswer)
		return nil
	case m.kind == messageOffer:
		p.challenged(m, messageTakes)
		return nil
	case m.kind == messageQuestion:
		p.questioned(m)
		return nil
	case m.kind == messageAnswer, m.kind == messageTakes, m.kind == messageReport:
		p.challenges.answer(m)
		return nil
	case m.kind == messageKeyAnswer:
		return p.keysAnswered(m)
	case m.kind == messageKeyQuery:
		m.body = bytes.Clone(m.body)
		select {
		case p.queries <- m:
		default:
		}
		return nil
	case m.kind == messageMissing:
		p.log.Log(noContext, p.quiet.level("missing", slog.LevelInfo), "another member holds this one for dead", "member", m.sender)
		p.missing.Set()
		return nil
	case m.kind == messageShare:
		return p.share(m)
	default:
		r, err := decodeReceipt(m.body)
		if err != nil {
			return err
		}
		r.Server = m.sender
		select {
		case p.receipts <- r:
		default:
		}
		return nil
	}
}
