package gossip

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// MaxShare is how much Share can send at once, in bytes.
const MaxShare = message.MaxShareSize - message.HeadSize

var (
	errNotServer = errors.New("only eds servers share what operators decide")
	errNotMet    = fmt.Errorf("%w, and this sender is not known yet", errNotServer)
)

// Share sends b to another EDS server, at its gossip address and over TCP. It
// returns an error when it could not be sent within the profile's TCP timeout (3 s
// for LAN). That it was sent does not mean that it was heeded.
func (p *Pool) Share(m *fleet.Member, b []byte) error {
	if len(b) > MaxShare {
		return fmt.Errorf("share with %s: %d bytes, at most %d can be sent", m.ID, len(b), MaxShare)
	}
	if err := p.send(m, message.Message{Kind: message.Share, Member: m.ID, Sender: p.id, Body: b}); err != nil {
		return fmt.Errorf("share with %s: %w", m.ID, err)
	}
	return nil
}

// share hands on what another EDS server sent. One that is held for dead is heard
// too: it may see us again before we see it. One that is not known yet has been started a
// moment ago, and shares all that it has once both have met.
func (p *Pool) share(m message.Message) error {
	if p.shared == nil {
		return nil
	}
	from, ok := p.members.find(m.Sender)
	if !ok {
		return fmt.Errorf("from %s: %w", m.Sender, errNotMet)
	}
	if from.Role != fleet.RoleEDS || from.Quarantine != "" || from.ID == p.id {
		return fmt.Errorf("from %s: %w", m.Sender, errNotServer)
	}
	p.shared(from, slices.Clone(m.Body))
	return nil
}

// find returns the member of this id.
func (ms *members) find(id uuid.UUID) (*fleet.Member, bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	r := ms.byName[id.String()]
	if r == nil {
		return nil, false
	}
	return r.Member, true
}
