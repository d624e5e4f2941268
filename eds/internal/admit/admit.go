// Package admit decides which members of the pool may have an endpoint at all: those
// that serve where they were proven to be, whose service is theirs, and for which
// there is room. It reads no clock and does no I/O.
package admit

import (
	"crypto/ed25519"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The defaults of Options.
const (
	DefaultMaxServices  = 5_000
	DefaultMaxEndpoints = 10_000
)

// Cause is why a member is refused: a label value of a metric.
type Cause string

// The causes.
const (
	Address   Cause = "address"   // its endpoint is not where it gossips
	Unproven  Cause = "unproven"  // it did not answer where it says that it gossips
	Signature Cause = "signature" // its service belongs to others
	Services  Cause = "services"  // there is no room for another service
	Endpoints Cause = "endpoints" // there is no room for another endpoint of its service
)

// Causes are all of them.
var Causes = []Cause{Address, Unproven, Signature, Services, Endpoints}

// Owners knows to whom services belong.
type Owners interface {
	// Owned returns the keys of a service, and whether it must be signed with one.
	Owned(service string) ([]ed25519.PublicKey, bool)
}

// Options says whom to admit.
type Options struct {
	Fleet        string         // as members sign it
	Allow        []netip.Prefix // where endpoints may be whose member gossips elsewhere
	Local        bool           // this server gossips at a loopback address, and so may others
	Owners       func() Owners  // as they are now: another one when something changed; called once for each Admit
	Proofs       Proofs
	MaxServices  int // 0 stands for the default
	MaxEndpoints int // of one service; 0 stands for the default
}

// Proofs knows which members have shown that they are where they gossip.
type Proofs interface {
	State(*fleet.Member) vouch.State
	// Revision changes before State answers differently.
	Revision() uint64
}

// Refusal is a member that was not refused before, or not for that cause.
type Refusal struct {
	Member *fleet.Member // with the reason as its Quarantine
	Cause  Cause
}

// Gate decides which members may serve. One goroutine owns it. It looks at a member
// again when the member, the owners or the proofs have changed.
type Gate struct {
	opts Options

	// Of the last Admit.
	members []*fleet.Member
	entries []*entry // of members
	byID    map[uuid.UUID]*entry
	owners  Owners
	proofs  uint64
	result  Result

	taken map[string]int // places, by service
}

// New returns a Gate that has admitted no member.
func New(opts Options) *Gate {
	if opts.MaxServices == 0 {
		opts.MaxServices = DefaultMaxServices
	}
	if opts.MaxEndpoints == 0 {
		opts.MaxEndpoints = DefaultMaxEndpoints
	}
	return &Gate{opts: opts, byID: map[uuid.UUID]*entry{}, taken: map[string]int{}}
}

// Result is what Admit found. Callers must not modify it.
type Result struct {
	Members []*fleet.Member // all of them, the refused ones quarantined
	Prove   []*fleet.Member // those of whom Proofs count
	Moved   bool            // Prove is not what it was
	Pending int             // how many of those are alive and not proven yet
	Fresh   bool            // a member may serve that could not before
	News    []Refusal
	Refused map[Cause]int // how many are refused now
}

// Admit refuses who may have no endpoint: it writes why into the Quarantine of
// copies. It keeps members, which must not be modified any more.
func (g *Gate) Admit(members []*fleet.Member) Result {
	owners, proofs := g.opts.Owners(), g.opts.Proofs.Revision()
	afresh := g.result.Refused == nil || owners != g.owners || proofs != g.proofs
	if !afresh && len(members) == len(g.members) && (len(members) == 0 || &members[0] == &g.members[0]) {
		g.result.News, g.result.Moved, g.result.Fresh = nil, false, false
		return g.result
	}
	g.owners, g.proofs = owners, proofs
	entries, moved := make([]*entry, len(members)), false
	for i, m := range members {
		e := g.entry(i, m)
		entries[i] = e
		if afresh || e.m == nil || !m.Equal(e.m) {
			moved = g.judge(e, m) || moved
		}
		e.m, e.seen = m, true
	}
	for _, e := range g.entries {
		if !e.seen {
			g.leave(e)
			delete(g.byID, e.m.ID)
			moved = moved || e.proves
		}
	}
	g.members, g.entries = members, entries
	g.assign()
	g.conclude(moved)
	return g.result
}

// entry finds what is known of the member that is the i-th now, most often where it
// was before.
func (g *Gate) entry(i int, m *fleet.Member) *entry {
	if i < len(g.entries) && fleet.CompareIDs(g.members[i], m) == 0 {
		return g.entries[i]
	}
	e := g.byID[m.ID]
	if e == nil {
		e = &entry{}
		g.byID[m.ID] = e
	}
	return e
}

// conclude brings together what was found. moved says that others are to be proven.
func (g *Gate) conclude(moved bool) {
	r := Result{Members: g.members, Prove: g.result.Prove, Moved: moved, Refused: make(map[Cause]int)}
	if moved {
		r.Prove = nil
	}
	for i, e := range g.entries {
		e.seen = false
		if moved && e.proves {
			r.Prove = append(r.Prove, e.m)
		}
		if e.cause == Unproven && e.m.Liveness == fleet.Alive {
			r.Pending++
		}
		r.Fresh = r.Fresh || e.place != "" && !e.placed
		e.placed = e.place != ""
		if e.cause != "" {
			if len(r.Refused) == 0 {
				r.Members = slices.Clone(g.members)
			}
			r.Refused[e.cause]++
			refused := *e.m
			refused.Quarantine = e.reason
			r.Members[i] = &refused
			if e.told != e.cause && !e.unasked {
				r.News = append(r.News, Refusal{&refused, e.cause})
			}
		}
		if !e.unasked {
			e.told = e.cause
		}
	}
	g.result = r
}
