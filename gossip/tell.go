package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/text"
)

// pings is how many Ping sends at once: packets get lost.
const pings = 3

const (
	keepReceipts = 64 // unread; later ones are dropped
)

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
	if err := p.send(m, message.Message{Kind: message.Missing, Member: m.ID, Sender: p.id}); err != nil {
		return fmt.Errorf("tell %s that it is missing: %w", m.ID, err)
	}
	return nil
}

// SendReceipt tells m how far its announcement has come, as TellMissing does.
func (p *Pool) SendReceipt(m *fleet.Member, r fleet.Receipt) error {
	if err := p.send(m, message.Message{Kind: message.Receipt, Member: m.ID, Sender: p.id, Body: fleet.EncodeReceipt(r)}); err != nil {
		return fmt.Errorf("send a receipt to %s: %w", m.ID, err)
	}
	return nil
}

func (p *Pool) send(m *fleet.Member, msg message.Message) error {
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	if !m.Gossip.IsValid() {
		return errors.New("its gossip address is not known")
	}
	return p.list.SendReliable(nodeOf(m), p.envelopes.Seal(m.ID, msg))
}

// Missing receives when another member said that it holds this one for dead. It
// holds one signal. Without a gossip key anybody can say so: what is done about it
// must be harmless when it is done for nothing, and not be done often.
func (p *Pool) Missing() <-chan struct{} { return p.missing }

// Receipts receives what EDS servers say of this process's announcements. A reader
// that does not keep up loses the later ones.
func (p *Pool) Receipts() <-chan fleet.Receipt { return p.receipts }

// receive takes a message from another member. It must not block.
func (p *Pool) receive(b []byte) {
	m, err := p.envelopes.Open(b)
	if err == nil {
		err = p.accept(m)
	}
	if errors.Is(err, message.ErrUnsigned) || errors.Is(err, message.ErrReplayed) {
		p.counts.forged.Add(1)
	}
	switch {
	case err == nil, errors.Is(err, message.ErrUnknownKind):
	case errors.Is(err, errNotMet):
		p.log.Debug("ignored a message of a member that is still unknown", "reason", err)
	default:
		p.log.Log(noContext, p.quiet.level("message", slog.LevelWarn), "ignored a message that cannot be read", "reason", err)
	}
}

// handler takes a message of one kind.
type handler struct {
	forMember func(message.Message) error // of one that is about this member
	forAny    func(message.Message) error // of one that is about any member
}

// newHandlers returns those of all kinds, but for kinds of later versions.
func (p *Pool) newHandlers() map[message.Kind]handler {
	never := func(f func(message.Message)) func(message.Message) error {
		return func(m message.Message) error { f(m); return nil }
	}
	return map[message.Kind]handler{
		message.Word:      {forAny: p.word},
		message.Here:      {forAny: p.called},
		message.Challenge: {forMember: never(func(m message.Message) { p.challenged(m, message.Answer) })},
		message.Offer:     {forMember: never(func(m message.Message) { p.challenged(m, message.Takes) })},
		message.Question:  {forMember: never(p.questioned)},
		message.Answer:    {forMember: never(p.challenges.answer)},
		message.Takes:     {forMember: never(p.challenges.answer)},
		message.Report:    {forMember: never(p.challenges.answer)},
		message.KeyAnswer: {forMember: p.keysAnswered},
		message.KeyQuery:  {forMember: never(p.keysAsked)},
		message.Missing:   {forMember: never(p.isMissing)},
		message.Share:     {forMember: p.share},
		message.Receipt:   {forMember: p.receipt},
	}
}

func (p *Pool) accept(m message.Message) error {
	switch h := p.handlers[m.Kind]; {
	case h.forAny != nil:
		return h.forAny(m)
	case h.forMember != nil && m.Member == p.id: // else it was for who had the address before
		return h.forMember(m)
	default:
		return nil
	}
}

// word takes what a member says of itself, ahead of gossip.
func (p *Pool) word(m message.Message) error {
	word, err := decodeWord(m)
	if err == nil {
		err = p.members.vet(word)
	}
	if err == nil {
		p.members.hear(word)
	}
	return err
}

// decodeWord reads the metadata in a message.
func decodeWord(m message.Message) (fleet.Member, error) {
	if m.Member != m.Sender {
		return fleet.Member{}, fmt.Errorf("%s speaks for %s", m.Sender, m.Member)
	}
	word, err := fleet.Decode(m.Body)
	word.ID = m.Member
	return word, err
}

// keysAsked queues a question about this member's keys; more than fit are dropped.
func (p *Pool) keysAsked(m message.Message) {
	m.Body = bytes.Clone(m.Body)
	select {
	case p.queries <- m:
	default:
	}
}

// isMissing has this member announce itself again.
func (p *Pool) isMissing(m message.Message) {
	p.log.Log(noContext, p.quiet.level("missing", slog.LevelInfo), "another member takes this one for dead", "member", m.Sender)
	p.missing.Set()
}

// readReceipt reads a receipt from the network, and makes its text fit to be shown.
func readReceipt(m message.Message) (fleet.Receipt, error) {
	r, err := fleet.DecodeReceipt(m.Body)
	r.Server, r.Behind = m.Sender, text.Clean(r.Behind)
	return r, err
}

// receipt queues a receipt; more than fit are dropped.
func (p *Pool) receipt(m message.Message) error {
	r, err := readReceipt(m)
	if err != nil {
		return err
	}
	select {
	case p.receipts <- r:
	default:
	}
	return nil
}
