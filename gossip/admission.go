package gossip

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// Bounds say who may be a member, as far as this process takes part in it.
type Bounds struct {
	// AllowCIDRs are where members may gossip from. None: from anywhere.
	AllowCIDRs []netip.Prefix

	// MaxMembers is how many live members are known at once, and how many new ones
	// are let in a minute. MaxMembersPerAddr is how many of them may gossip at one IP
	// address. 0 stands for the default.
	MaxMembers, MaxMembersPerAddr int

	// MaxConnections to the gossip port are open at once, links apart, and messages of
	// MaxBytes, 21 MiB or more, are read from them at once; others wait. One IP address
	// has at most a quarter of each. 0 stands for the default.
	MaxConnections int
	MaxBytes       int64
}

// WithDefaults returns b with the defaults in place of zero values.
func (b Bounds) WithDefaults() Bounds {
	b.MaxMembers = cmp.Or(b.MaxMembers, 10_000)
	b.MaxMembersPerAddr = cmp.Or(b.MaxMembersPerAddr, 1_000)
	b.MaxConnections = cmp.Or(b.MaxConnections, 512)
	b.MaxBytes = cmp.Or(b.MaxBytes, 64<<20)
	return b
}

func (b *Bounds) prepare() error {
	if b.MaxMembers < 0 || b.MaxMembersPerAddr < 0 || b.MaxConnections < 0 {
		return errors.New("a bound of members or of their connections is negative")
	}
	*b = b.WithDefaults()
	if b.MaxBytes < maxStream {
		return fmt.Errorf("%d bytes of gossip may be read at once, give %d or more: one message may have as many", b.MaxBytes, maxStream)
	}
	for _, p := range b.AllowCIDRs {
		if !p.IsValid() {
			return errors.New("a network that members may gossip from is not valid")
		}
	}
	return nil
}

// cidrs are the allowed networks and this member's own address as memberlist takes
// them; nil allows all.
func (b *Bounds) cidrs(self netip.Addr) []net.IPNet {
	if len(b.AllowCIDRs) == 0 {
		return nil
	}
	var nets []net.IPNet
	for _, p := range append([]netip.Prefix{netip.PrefixFrom(self, self.BitLen())}, b.AllowCIDRs...) {
		p = p.Masked()
		nets = append(nets, net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return nets
}

// counts is what was refused since the start.
type counts struct {
	conflicts, forged, strangers, crowded, crowdedAddr, hurried, connections atomic.Uint64
}

// Refused is how often this member refused something since its start.
type Refused struct {
	Conflicts   uint64 // claims of an id that another member has
	Forged      uint64 // messages and members without the signature they must have
	Strangers   uint64 // gossip of members outside of the allowed networks
	Crowded     uint64 // members over the bound
	CrowdedAddr uint64 // members over the bound of one address
	Hurried     uint64 // members that came faster than they may
	Connections uint64 // connections without room for them or for what they send
}

// Refused says so. Any goroutine may call it.
func (p *Pool) Refused() Refused {
	c := p.counts
	return Refused{c.conflicts.Load(), c.forged.Load(), c.strangers.Load(), c.crowded.Load(), c.crowdedAddr.Load(), c.hurried.Load(), c.connections.Load()}
}

// admission decides whom members lets in.
type admission struct {
	Bounds
	fleet   string
	edsKeys []ed25519.PublicKey
	counts  *counts

	// Guarded by the mutex of members.
	room   float64 // how many new members may come at once
	filled time.Time
}

func (o *Options) admission(c *counts) admission {
	return admission{Bounds: o.Bounds, fleet: o.Fleet, edsKeys: o.EDSKeys, counts: c, room: float64(o.MaxMembers), filled: time.Now()}
}

// vet returns why m is not what it says.
func (a *admission) vet(m fleet.Member) error {
	if m.Role == fleet.RoleEDS && len(a.edsKeys) > 0 && !fleet.Verify(a.fleet, m, a.edsKeys) {
		a.counts.forged.Add(1)
		return errors.New("it says that it is an EDS server and has no signature by their key: see --eds-key and --eds-pub")
	}
	return nil
}

// allowed reports whether members may gossip from addr.
func (b *Bounds) allowed(addr netip.Addr) bool {
	return len(b.AllowCIDRs) == 0 || slices.ContainsFunc(b.AllowCIDRs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

var (
	_ memberlist.AliveDelegate = (*members)(nil)

	errStranger    = errors.New("its address is in none of the networks of --allow-cidr")
	errCrowded     = errors.New("there are as many members as --max-members allows")
	errCrowdedAddr = errors.New("as many members as --max-members-per-address allows gossip at its address")
	errHurried     = errors.New("more members came within a minute than --max-members allows")
)

// NotifyAlive implements memberlist.AliveDelegate: it is asked before a member is
// believed to be there. It runs under memberlist's write lock.
func (ms *members) NotifyAlive(n *memberlist.Node) error {
	if n.Name == ms.name {
		return nil
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	addr := address(n).Addr()
	party := fleet.Party(addr)
	if !ms.allowed(addr) {
		ms.counts.strangers.Add(1)
		return errStranger
	}
	old := ms.byName[n.Name]
	if old != nil && old.Liveness == fleet.Alive {
		return nil
	}
	switch {
	case len(ms.byName)-ms.gone >= ms.MaxMembers:
		ms.counts.crowded.Add(1)
		return errCrowded
	case ms.perAddr[party] >= ms.MaxMembersPerAddr:
		ms.counts.crowdedAddr.Add(1)
		return errCrowdedAddr
	case old == nil && !ms.takeRoom(time.Now()): // old news of known ones comes often, and is no news
		ms.counts.hurried.Add(1)
		return errHurried
	}
	return nil
}

// takeRoom reports whether one more new member may come now. It bounds what
// memberlist keeps of those that went again. The caller holds mu.
func (ms *members) takeRoom(now time.Time) bool {
	most := float64(ms.MaxMembers)
	ms.room = min(most, ms.room+now.Sub(ms.filled).Minutes()*most)
	ms.filled = now
	if ms.room < 1 {
		return false
	}
	ms.room--
	return true
}

// encode writes m as it is announced. What leaves no room for its later states, such
// as that it drains, is refused.
func (o *Options) encode(m fleet.Member) ([]byte, error) {
	if err := fleet.CheckRoom(m, o.SigningKey != nil); err != nil {
		return nil, err
	}
	if o.SigningKey == nil {
		return fleet.Encode(m)
	}
	m, err := fleet.Sign(o.Fleet, m, o.SigningKey)
	if err != nil {
		return nil, err
	}
	return fleet.Encode(m)
}

// envelopes are how o has messages signed and checked.
func (o *Options) envelopes() *message.Envelopes {
	e := &message.Envelopes{Fleet: o.Fleet, Self: o.Member.ID, Trust: o.EDSKeys}
	if o.Member.Role == fleet.RoleEDS {
		e.Sign = o.SigningKey
	}
	return e
}
