package gossip

import (
	"fmt"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// Announce publishes m in place of what this process announced before, and
// returns at once with the revision that the announcement has. The id cannot
// change, and m's own Revision is not looked at. EDS servers are told directly,
// over TCP; everybody else hears of it by gossip within half a second or so. It
// returns an error, and publishes nothing, when m is not valid or does not fit.
func (p *Pool) Announce(m fleet.Member) (uint64, error) {
	if m.ID != p.id {
		return 0, fmt.Errorf("announce: id %s is not this member's, which is %s", m.ID, p.id)
	}
	p.announcing.Lock()
	defer p.announcing.Unlock()
	if err := p.usable(); err != nil {
		return 0, err
	}
	m.Revision = p.revision
	meta, err := p.encode(m)
	if err != nil {
		return 0, fmt.Errorf("announce: %w", err)
	}
	if p.delegate.has(meta) {
		return p.revision, nil
	}
	m.Revision++
	if meta, err = p.encode(m); err != nil {
		return 0, fmt.Errorf("announce: %w", err)
	}
	p.revision = m.Revision
	p.announced = time.Now()
	p.delegate.setMeta(meta)
	p.reported.Store(&Report{Revision: m.Revision, Health: m.Endpoint.Health})
	p.tellServers(meta)
	p.again()
	return p.revision, nil
}

// Reannounce publishes what was announced before once more, under a higher
// incarnation: members that wrongly hold this one for dead see it again, unless
// the word of its death has an incarnation that none is higher than.
func (p *Pool) Reannounce() error {
	p.announcing.Lock()
	defer p.announcing.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	p.again()
	return nil
}

// usable returns why an announcement would reach no member.
func (p *Pool) usable() error {
	select {
	case <-p.ctx.Done():
		return ErrClosed
	case <-p.wedged:
		return ErrWedged
	default:
		return nil
	}
}

// again has the announcer publish what is current. The caller holds announcing.
func (p *Pool) again() {
	p.update.Set()
}

// announcer has memberlist announce the metadata, one update at a time, until the
// pool is shut down.
func (p *Pool) announcer() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.update:
		}
		if err := p.list.UpdateNode(announceWait); err != nil && p.ctx.Err() == nil {
			p.log.Debug("announcement is still on its way", "reason", err)
		}
	}
}

// tellServers sends the metadata to every EDS server, which is quicker than
// gossip. The caller holds announcing and has seen the pool open: shutdown waits for
// that before it waits for the group.
func (p *Pool) tellServers(meta []byte) {
	word := message.Message{Kind: message.Word, Member: p.id, Sender: p.id, Body: meta}
	for _, m := range p.members.list() {
		if m.Role != fleet.RoleEDS || m.Liveness != fleet.Alive || m.ID == p.id {
			continue
		}
		p.wg.Go(func() {
			if p.tellLinked(m.ID, meta) {
				return
			}
			if err := p.send(m, word); err != nil && p.ctx.Err() == nil {
				p.log.Debug("could not send an announcement to an EDS server directly", "server", m.ID, "reason", err)
			}
		})
	}
}
