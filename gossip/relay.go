package gossip

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

const (
	questionSize = nonceSize + len(uuid.UUID{})

	// relaysAtOnce is how many questions a member works on at one time. Each takes the
	// profile's probe timeout at most; what comes beyond is dropped.
	relaysAtOnce = 32

	// relayed is what a question may take beyond a challenge.
	relayed = 150 * time.Millisecond
)

// relaying are the questions that this member works on.
type relaying struct {
	mu   sync.Mutex
	open map[[nonceSize]byte]bool
}

// Elsewhere asks each of relays to challenge m, and reports whether one of them had an
// answer: within the profile's probe timeout (250 ms for LAN), 150 ms and before ctx is
// done. Each question has a random number of its own, which the relay sends back once m
// has answered it: a report is never older than the question. Members of earlier versions
// ignore the question.
func (p *Pool) Elsewhere(ctx context.Context, m *fleet.Member, relays []*fleet.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, p.probeTimeout+relayed)
	defer cancel()
	var asking sync.WaitGroup
	found := make(chan struct{}, len(relays))
	for _, relay := range relays {
		asking.Go(func() {
			if p.nonced(ctx, relay, message.Question, m.ID[:]) {
				found <- struct{}{}
				cancel()
			}
		})
	}
	asking.Wait()
	return len(found) > 0
}

// questioned challenges the member that another one asks about, in the background, and
// reports if it answers. Only EDS servers are answered, and only about members of the pool.
// A question is repeated in case it gets lost: the same one is worked on once.
func (p *Pool) questioned(m message.Message) {
	if len(m.Body) != questionSize {
		return
	}
	asker, known := p.members.find(m.Sender)
	subject, inPool := p.members.find(uuid.UUID(m.Body[nonceSize:]))
	nonce := [nonceSize]byte(m.Body)
	if !known || asker.Role != fleet.RoleEDS || asker.Liveness == fleet.Left || !inPool || subject.Liveness == fleet.Left || !p.relaying.begin(nonce) {
		return
	}
	p.wg.Go(func() {
		defer p.relaying.end(nonce)
		if p.Vouch(p.ctx, subject) {
			p.sendPacket(asker, message.Message{Kind: message.Report, Member: asker.ID, Sender: p.id, Body: nonce[:]})
		}
	})
}

// begin reports whether a question is to be worked on.
func (r *relaying) begin(nonce [nonceSize]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[nonce] || len(r.open) >= relaysAtOnce {
		return false
	}
	if r.open == nil {
		r.open = make(map[[nonceSize]byte]bool)
	}
	r.open[nonce] = true
	return true
}

func (r *relaying) end(nonce [nonceSize]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, nonce)
}
