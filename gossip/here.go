package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// An EDS server that is lost may be back at its address a moment later, under another
// id and with an empty table. Every member tells it there that it is still alive,
// in a few bytes. The server joins those that it does not know, a few at a time: the
// first one brings most others with it, so that a thousand members cost some joins.
//
// The message makes a server open a connection to an address and no more: who the
// member is, it learns by joining it, and believes as little as from any other.

const (
	hereFor   = 15 * time.Second // how long messages go to a lost server
	herePause = 100 * time.Millisecond
	hereMost  = time.Second           // the pause doubles up to this
	hereEach  = time.Millisecond      // of the first pause at random, for each member of the pool
	hereLoad  = 2 * time.Second       // the first pause at most
	hereLost  = 16                    // servers that receive messages at the same time
	callers   = 64                    // addresses that a server keeps until it has joined them
	callsAll  = 4                     // joins of callers at once
	callPause = 20 * time.Millisecond // between two of one worker, which bounds what a flood of messages can do
)

// lostServer is an EDS server whose link to this process has ended, or that gossip lost: it
// stopped, it crashed, or the connection to it broke.
type lostServer struct {
	id     uuid.UUID
	gossip netip.AddrPort // where it gossiped
}

// lose has a lost server told that this process is alive. It never blocks.
func (ms *members) lose(s lostServer) {
	select {
	case ms.lost <- s:
	default:
	}
}

// tellLost tells lost servers until the pool is shut down.
func (p *Pool) tellLost() {
	telling := make(map[netip.AddrPort]bool)
	told := make(chan netip.AddrPort, hereLost)
	for {
		select {
		case <-p.ctx.Done():
			return
		case addr := <-told:
			delete(telling, addr)
		case s := <-p.members.lost:
			if !telling[s.gossip] && len(telling) < hereLost {
				telling[s.gossip] = true
				p.wg.Go(func() {
					p.tellHere(s)
					told <- s.gossip // there is room for each
				})
			}
		}
	}
}

// tellHere sends to a lost server's address, until another server is there
// and was told, or it takes too long. A pool that is large does not tell all at once.
func (p *Pool) tellHere(s lostServer) {
	ctx, cancel := context.WithTimeout(p.ctx, hereFor)
	defer cancel()
	spread := min(hereLoad, time.Duration(p.members.others()+1)*hereEach)
	for pause, wait := herePause, rand.N(spread); ; pause, wait = min(2*pause, hereMost), pause+rand.N(pause) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := p.sendHere(s.gossip); err != nil {
			p.log.Debug("lost EDS server has not returned", "gossip", s.gossip, "reason", err)
		} else if p.members.replaced(s) {
			return
		}
	}
}

func (p *Pool) sendHere(addr netip.AddrPort) error {
	self, err := p.Self().Gossip.MarshalBinary()
	if err != nil {
		return err
	}
	to := &memberlist.Node{Addr: addr.Addr().AsSlice(), Port: addr.Port()}
	return p.list.SendReliable(to, p.envelopes.Seal(uuid.Nil, message.Message{Kind: message.Here, Member: p.id, Sender: p.id, Body: self}))
}

// replaced reports whether another EDS server is known at the address of a lost one.
func (ms *members) replaced(s lostServer) bool {
	return slices.ContainsFunc(ms.list(), func(m *fleet.Member) bool {
		return m.Role == fleet.RoleEDS && m.Liveness == fleet.Alive && m.Gossip == s.gossip && m.ID != s.id
	})
}

// called takes the word of a member that it is alive. It does not block.
func (p *Pool) called(m message.Message) error {
	var addr netip.AddrPort
	if err := addr.UnmarshalBinary(m.Body); err != nil {
		return fmt.Errorf("read where a member gossips: %w", err)
	}
	if err := fleet.CheckAddr(addr); err != nil {
		return fmt.Errorf("a member cannot gossip at %s: %w", addr, err)
	}
	if p.Self().Role != fleet.RoleEDS {
		return nil
	}
	if known, ok := p.members.find(m.Sender); ok && known.Liveness == fleet.Alive {
		return nil
	}
	if !p.members.allowed(addr.Addr()) {
		return errStranger
	}
	select {
	case p.callers <- addr:
	default: // it says so again
	}
	return nil
}

// answerCalls joins members that said they are alive, until the pool is shut down.
func (p *Pool) answerCalls() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case addr := <-p.callers:
			if alive, _ := p.members.addresses(); alive[addr] {
				continue
			}
			if err := p.join(addr); err != nil && !errors.Is(err, context.Canceled) {
				p.log.Debug("could not join a member that said it is alive", "gossip", addr, "reason", err)
				break
			}
			p.log.Log(noContext, p.quiet.level("called", slog.LevelInfo), "a member said that it is alive and was joined", "gossip", addr, "others", p.members.others())
		}
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(callPause):
		}
	}
}
