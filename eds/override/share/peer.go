package share

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The bounds of what waits for one server. What is dropped, comparing finds.
const (
	queueBytes = 16 << 20
	queueFresh = 4096 // decisions
)

// peer is another EDS server. It is sent one message at a time, so that one that
// does not answer holds up nobody else.
type peer struct {
	member fleet.Member
	busy   bool                // something is being sent
	fresh  []override.Override // decided here just now; they go first
	queue  [][]byte
	size   int // bytes in queue

	again time.Time     // no exchange before
	wait  time.Duration // after the next one
}

// result is what came of sending.
type result struct {
	to  uuid.UUID
	err error
}

func (p *peer) push(b []byte) {
	if p.size+len(b) <= queueBytes {
		p.queue, p.size = append(p.queue, b), p.size+len(b)
	}
}

func (p *peer) made(list []override.Override) {
	p.fresh = append(p.fresh, list...)
	p.fresh = p.fresh[max(0, len(p.fresh)-queueFresh):]
}

// exchange reports whether it is time to send stamps, given that the sums differ.
func (p *peer) exchange(now time.Time, differ bool) bool {
	if !differ {
		p.wait = 0
		return false
	}
	if now.Before(p.again) {
		return false
	}
	p.wait = min(max(2*p.wait, compareEvery/2), compareMost)
	p.again = now.Add(p.wait)
	return true
}

// next takes what is to be sent now.
func (p *peer) next() ([]byte, error) {
	if len(p.fresh) > 0 {
		b, n, err := chunk(p.fresh)
		p.fresh = p.fresh[n:]
		return b, err
	}
	b := p.queue[0]
	p.queue, p.size = p.queue[1:], p.size-len(b)
	return b, nil
}

// send sends what is next, if anything is.
func (s *Sharer) send(ctx context.Context, sending *sync.WaitGroup, p *peer) {
	if p.busy || len(p.fresh)+len(p.queue) == 0 {
		return
	}
	b, err := p.next()
	if err != nil {
		s.warn(time.Now(), p.member, err)
		return
	}
	p.busy = true
	to := p.member
	sending.Go(func() {
		r := result{to.ID, s.Send(to, b)}
		select {
		case s.sent <- r:
		case <-ctx.Done():
		}
	})
}

// done notes that a message was sent. What did not arrive comes again by comparing.
func (s *Sharer) done(r result) {
	p := s.peers[r.to]
	if r.err != nil {
		s.Logger.Debug("an eds server was not told of a decision", "server", r.to, "error", r.err)
	}
	if p == nil {
		return
	}
	p.busy = false
	if r.err != nil {
		p.fresh, p.queue, p.size = nil, nil, 0
	}
}
