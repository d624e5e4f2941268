package share

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The bounds of what waits for one server. What is dropped, comparing finds.
const (
	queueBytes = 16 << 20
	queueFresh = 4096 // overrides
)

// peer is another EDS server. It is sent one message at a time, so that one that
// does not answer delays no other.
type peer struct {
	member *fleet.Member
	busy   bool                // something is being sent
	fresh  []override.Override // made here just now; they are sent first
	queue  [][]byte
	size   int  // bytes in queue
	agreed bool // it held the same once

	sums  [2]override.Digest // theirs and ours at the last exchange
	again time.Time          // no exchange before, unless those have changed
	wait  time.Duration      // between exchanges
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

// exchange reports whether it is time to send stamps, given both sums. It takes its
// time only where the last exchange changed neither: what the one has, the other one
// does not take.
func (p *peer) exchange(now time.Time, sums [2]override.Digest) bool {
	moved := sums != p.sums
	if moved {
		p.wait = 0
	}
	if sums[0] == sums[1] || !moved && now.Before(p.again) {
		return false
	}
	p.wait = min(max(2*p.wait, compareEvery/2), compareMost)
	p.again, p.sums = now.Add(p.wait), sums
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

// done notes that a message was sent. What did not arrive is sent again after a comparison.
func (s *Sharer) done(r result) {
	p := s.peers[r.to]
	if r.err != nil {
		s.Logger.Debug("could not send an override to an EDS server", "server", r.to, "err", r.err)
	}
	if p == nil {
		return
	}
	p.busy = false
	if r.err != nil {
		p.fresh, p.queue, p.size = nil, nil, 0
	}
}
