package gossip

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

// nonceSize is that of a challenge's body, in bytes. An answer repeats it.
const nonceSize = 16

// challengePauses are between the tries of one challenge: a packet gets lost, and
// who has just joined may not know yet whom to answer.
var challengePauses = []time.Duration{0, 25 * time.Millisecond, 75 * time.Millisecond}

// challenges are those that wait for an answer.
type challenges struct {
	mu   sync.Mutex
	open map[[nonceSize]byte]challenge
}

type challenge struct {
	member   uuid.UUID
	answered latest.Signal
}

// Vouch challenges m over UDP at its gossip address, three times within 100 ms, and
// reports whether m was there to answer: within the profile's probe timeout (250 ms
// for LAN) and before ctx is done. The answer repeats a random number that went to
// that address alone, so unlike the answer to a Ping it cannot come from anywhere
// else.
func (p *Pool) Vouch(ctx context.Context, m *fleet.Member) bool {
	return p.challenge(ctx, m, message.Challenge)
}

// challenge sends messages of a kind whose bodies are to be repeated.
func (p *Pool) challenge(ctx context.Context, m *fleet.Member, kind message.Kind) bool {
	ctx, cancel := context.WithTimeout(ctx, p.probeTimeout)
	defer cancel()
	return p.nonced(ctx, m, kind, nil)
}

// nonced sends m the same message three times within 100 ms, with a random number at the
// beginning of its body, and reports whether m has sent that number back before ctx is done.
func (p *Pool) nonced(ctx context.Context, m *fleet.Member, kind message.Kind, rest []byte) bool {
	if !m.Gossip.IsValid() || p.ctx.Err() != nil {
		return false
	}
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	answered := p.challenges.add(nonce, m.ID)
	defer p.challenges.remove(nonce)
	for _, pause := range challengePauses {
		if pause > 0 && heard(ctx, answered, pause) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		p.sendPacket(m, message.Message{Kind: kind, Member: m.ID, Sender: p.id, Body: append(nonce[:], rest...)})
	}
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		return false
	}
}

// heard reports whether there was an answer within d.
func heard(ctx context.Context, answered <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-answered:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// sendPacket sends over UDP. That it is lost is no news.
func (p *Pool) sendPacket(to *fleet.Member, msg message.Message) {
	if p.ctx.Err() == nil {
		_ = p.list.SendBestEffort(nodeOf(to), p.envelopes.Seal(to.ID, msg))
	}
}

// challenged answers a challenger that is a member: at the address at which the
// pool knows it. A member that was lost may be on the other side of a broken link that
// lets packets through again.
func (p *Pool) challenged(m message.Message, answer message.Kind) {
	asker, ok := p.members.find(m.Sender)
	if ok && asker.Liveness != fleet.Left && len(m.Body) == nonceSize {
		p.sendPacket(asker, message.Message{Kind: answer, Member: m.Sender, Sender: p.id, Body: m.Body})
	}
}

func (c *challenges) add(nonce [nonceSize]byte, member uuid.UUID) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[[nonceSize]byte]challenge)
	}
	answered := latest.NewSignal()
	c.open[nonce] = challenge{member: member, answered: answered}
	return answered
}

func (c *challenges) remove(nonce [nonceSize]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, nonce)
}

// answer takes a member's answer. It never blocks.
func (c *challenges) answer(m message.Message) {
	if len(m.Body) != nonceSize {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if open, ok := c.open[[nonceSize]byte(m.Body)]; ok && open.member == m.Sender {
		open.answered.Set()
	}
}

// nodeOf is where memberlist is to send what m is to have.
func nodeOf(m *fleet.Member) *memberlist.Node {
	return &memberlist.Node{Name: m.ID.String(), Addr: m.Gossip.Addr().AsSlice(), Port: m.Gossip.Port()}
}
