// Package admit decides which members of the pool may have an endpoint at all: those
// that serve where they were proven to be, whose service is theirs, and for which
// there is room. It reads no clock and does no I/O.
package admit

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The defaults of Options.
const (
	DefaultMaxServices  = 5_000
	DefaultMaxEndpoints = 5_000
)

// Cause is why a member is refused, in a word.
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
	Fleet        string                         // as members sign it
	Allow        []netip.Prefix                 // where endpoints may be whose member gossips elsewhere
	Owners       func() Owners                  // as they are now; called once for each Admit
	State        func(fleet.Member) vouch.State // what is known of a member's own address
	MaxServices  int                            // 0 stands for the default
	MaxEndpoints int                            // of one service; 0 stands for the default
}

// Refusal is a member that was not refused before, or not for that cause.
type Refusal struct {
	Member fleet.Member // with the reason as its Quarantine
	Cause  Cause
}

// Gate decides. One goroutine owns it.
type Gate struct {
	opts     Options
	admitted map[uuid.UUID]string // the service of those that have a place
	refused  map[uuid.UUID]Cause  // as of the last Admit
	verified map[uuid.UUID]verdict
}

// verdict is what was found of a signature, which takes long.
type verdict struct {
	of   fleet.Member
	keys []ed25519.PublicKey
	ok   bool
}

// New returns a Gate that has admitted nobody.
func New(opts Options) *Gate {
	if opts.MaxServices == 0 {
		opts.MaxServices = DefaultMaxServices
	}
	if opts.MaxEndpoints == 0 {
		opts.MaxEndpoints = DefaultMaxEndpoints
	}
	return &Gate{opts: opts, admitted: map[uuid.UUID]string{}, refused: map[uuid.UUID]Cause{}, verified: map[uuid.UUID]verdict{}}
}

// Result is what Admit found.
type Result struct {
	Members []fleet.Member // all of them, the refused ones quarantined
	Prove   []fleet.Member // those of whom State counts
	Pending bool           // some of those were not asked yet
	News    []Refusal
	Refused map[Cause]int // how many are refused now
}

// Admit refuses who may have no endpoint: it writes why into the members' Quarantine.
func (g *Gate) Admit(members []fleet.Member) Result {
	r := Result{Members: members, Refused: make(map[Cause]int)}
	owners := g.opts.Owners()
	seen, causes := make(map[uuid.UUID]bool, len(members)), make(map[uuid.UUID]Cause)
	for i := range members {
		m := &members[i]
		if m.Role != fleet.RoleUpstream || m.Quarantine != "" {
			continue
		}
		seen[m.ID] = true
		cause, reason := g.judge(m, owners, &r)
		if reason != "" {
			g.refuse(m, cause, reason, causes, &r)
		}
	}
	maps.DeleteFunc(g.admitted, func(id uuid.UUID, _ string) bool { return !seen[id] || causes[id] != "" })
	maps.DeleteFunc(g.verified, func(id uuid.UUID, _ verdict) bool { return !seen[id] })
	g.assign(members, causes, &r)
	g.refused = causes
	return r
}

func (g *Gate) refuse(m *fleet.Member, cause Cause, reason string, causes map[uuid.UUID]Cause, r *Result) {
	m.Quarantine = reason
	causes[m.ID] = cause
	r.Refused[cause]++
	if g.refused[m.ID] != cause && !(cause == Unproven && g.opts.State(*m) == vouch.Unasked) {
		r.News = append(r.News, Refusal{*m, cause})
	}
}

// judge returns what m itself is refused for.
func (g *Gate) judge(m *fleet.Member, owners Owners, r *Result) (Cause, string) {
	if keys, owned := owners.Owned(m.Service); owned && !g.signed(*m, keys) {
		return Signature, signatureReason(m, keys)
	}
	endpoint := m.Endpoint.Addr.Addr()
	if slices.ContainsFunc(g.opts.Allow, func(p netip.Prefix) bool { return p.Contains(endpoint) }) {
		return "", ""
	}
	if !sameHost(endpoint, m.Gossip.Addr()) {
		return Address, fmt.Sprintf("its endpoint is at %s but it gossips at %s, and a member speaks for its own address only: if this is meant, pass --allow-address %s to the EDS servers",
			endpoint, m.Gossip.Addr(), netip.PrefixFrom(endpoint, endpoint.BitLen()))
	}
	r.Prove = append(r.Prove, *m)
	switch g.opts.State(*m) {
	case vouch.Proven:
		return "", ""
	case vouch.Unasked:
		r.Pending = r.Pending || m.Liveness == fleet.Alive
	case vouch.Silent:
	}
	return Unproven, fmt.Sprintf("it has not answered this server at its gossip address %s yet", m.Gossip)
}

// sameHost reports whether two addresses are of one machine: all loopback addresses are.
func sameHost(a, b netip.Addr) bool { return a == b || a.IsLoopback() && b.IsLoopback() }

func signatureReason(m *fleet.Member, keys []ed25519.PublicKey) string {
	switch {
	case len(keys) == 0:
		return fmt.Sprintf("service %q has no key in --service-keys, which locks all services that are not named there", m.Service)
	case m.Signature == "":
		return fmt.Sprintf("service %q belongs to the holders of its key and this member shows no signature: pass --service-key to it", m.Service)
	default:
		return fmt.Sprintf("service %q belongs to the holders of its key and this member's signature is by none of its %d keys", m.Service, len(keys))
	}
}

// signed reports whether m is signed by one of keys.
func (g *Gate) signed(m fleet.Member, keys []ed25519.PublicKey) bool {
	v, ok := g.verified[m.ID]
	if !ok || !saysTheSame(v.of, m) || !slices.EqualFunc(v.keys, keys, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
		v = verdict{of: m, keys: keys, ok: fleet.Verify(g.opts.Fleet, m, keys)}
		g.verified[m.ID] = v
	}
	return v.ok
}

// saysTheSame reports whether two members of one id announce the same.
func saysTheSame(a, b fleet.Member) bool {
	x, y := a.Endpoint, b.Endpoint
	return a.Signature == b.Signature && a.Revision == b.Revision && a.Started.Equal(b.Started) && a.Role == b.Role &&
		a.Service == b.Service && a.Probe == b.Probe && x.Addr == y.Addr && x.Weight == y.Weight && x.Locality == y.Locality &&
		x.Canary == y.Canary && x.Health == y.Health && maps.Equal(x.Tags, y.Tags)
}

// assign gives places to those that are not refused: those that have one keep it,
// the others come in the order of their ids, since what they say of their start
// proves nothing. Who is gone takes up none.
func (g *Gate) assign(members []fleet.Member, causes map[uuid.UUID]Cause, r *Result) {
	taken := make(map[string]int)
	for i := range members {
		if m := &members[i]; g.hasPlace(m) {
			taken[m.Service]++
		}
	}
	for i := range members {
		m := &members[i]
		if m.Role != fleet.RoleUpstream || m.Quarantine != "" || g.hasPlace(m) {
			continue
		}
		if m.Liveness != fleet.Alive {
			if was := g.refused[m.ID]; was == Services || was == Endpoints {
				g.refuse(m, was, "there was no room for it while it was alive", causes, r)
			}
			continue
		}
		delete(g.admitted, m.ID)
		n := taken[m.Service]
		switch {
		case n == 0 && len(taken) >= g.opts.MaxServices:
			g.refuse(m, Services, fmt.Sprintf("there are %d services already, see --max-services", len(taken)), causes, r)
		case n >= g.opts.MaxEndpoints:
			g.refuse(m, Endpoints, fmt.Sprintf("its service has %d endpoints already, see --max-endpoints", n), causes, r)
		default:
			taken[m.Service]++
			g.admitted[m.ID] = m.Service
		}
	}
}

func (g *Gate) hasPlace(m *fleet.Member) bool {
	return m.Liveness == fleet.Alive && m.Service != "" && g.admitted[m.ID] == m.Service
}
