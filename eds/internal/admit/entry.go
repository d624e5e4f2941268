package admit

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// entry is what the Gate found of a member.
type entry struct {
	m    *fleet.Member // as it was last
	seen bool          // by the Admit under way

	own    verdict // of itself, whatever the others are
	place  string  // the service in which it takes up one
	placed bool    // it had one after the last Admit
	cause  Cause   // "": it is admitted, or none that could be
	reason string
	told   Cause // which was news last

	proves  bool // it is to be proven
	unasked bool // not challenged yet

	// A signature, which takes long to verify.
	keys   []ed25519.PublicKey
	signed bool // m, by one of keys
}

// verdict is why a member may have no endpoint; zero: it may.
type verdict struct {
	cause  Cause
	reason string
}

// judge decides whether m may serve. It reports whether the set of members to challenge
// changed.
func (g *Gate) judge(e *entry, m *fleet.Member) bool {
	proved := e.proves
	moved := e.m == nil || e.m.Gossip != m.Gossip
	e.proves, e.unasked = false, false
	if e.m != nil && !saysTheSame(e.m, m) {
		e.keys = nil
	}
	e.own = verdict{}
	if m.Role == fleet.RoleUpstream && m.Quarantine == "" {
		e.own = g.verdict(e, m)
	}
	if e.own.cause != "" || e.place != m.Service || m.Liveness != fleet.Alive || m.Quarantine != "" {
		g.leave(e)
	}
	return proved != e.proves || e.proves && moved
}

// verdict returns what m itself is refused for.
func (g *Gate) verdict(e *entry, m *fleet.Member) verdict {
	if keys, owned := g.owners.Owned(m.Service); owned && !g.signed(e, m, keys) {
		return verdict{Signature, signatureReason(m, keys)}
	}
	endpoint := m.Endpoint.Addr.Addr()
	if gossips := m.Gossip.Addr(); gossips.IsLoopback() && !endpoint.IsLoopback() && !g.opts.Local {
		return verdict{Address, fmt.Sprintf("it gossips at %s, which is an address of every machine: start it with --gossip at one of its own", gossips)}
	}
	allowed := slices.ContainsFunc(g.opts.Allow, func(p netip.Prefix) bool { return p.Contains(endpoint) })
	if !allowed && !sameHost(endpoint, m.Gossip.Addr()) {
		return verdict{Address, fmt.Sprintf("its endpoint is at %s but it gossips at %s, and a member speaks for its own address only: if this is meant, pass --allow-address %s to the EDS servers",
			endpoint, m.Gossip.Addr(), netip.PrefixFrom(endpoint, endpoint.BitLen()))}
	}
	e.proves = true
	switch state := g.opts.Proofs.State(m); {
	case state == vouch.Lapsed && m.Liveness != fleet.Alive:
		return verdict{Unproven, "gossip has lost it, and it has not shown that it has a gossip key since one was removed"}
	case allowed, state != vouch.Unasked && state != vouch.Silent:
		return verdict{}
	default:
		e.unasked = state == vouch.Unasked
	}
	return verdict{Unproven, fmt.Sprintf("it has not answered this server at its gossip address %s yet", m.Gossip)}
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
func (g *Gate) signed(e *entry, m *fleet.Member, keys []ed25519.PublicKey) bool {
	if e.keys == nil || !slices.EqualFunc(e.keys, keys, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
		e.keys, e.signed = keys, fleet.Verify(g.opts.Fleet, *m, keys)
	}
	return e.signed
}

// saysTheSame reports whether two members of one id announce the same.
func saysTheSame(a, b *fleet.Member) bool {
	x, y := &a.Endpoint, &b.Endpoint
	return a.Signature == b.Signature && a.Revision == b.Revision && a.Started.Equal(b.Started) && a.Role == b.Role &&
		a.Service == b.Service && a.Probe == b.Probe && x.Addr == y.Addr && x.Weight == y.Weight && x.Locality == y.Locality &&
		x.Canary == y.Canary && x.Health == y.Health && maps.Equal(x.Tags, y.Tags)
}

// assign gives places to those that are not refused: those that have one keep it,
// the others come in the order of their ids, since what they say of their start
// proves nothing. Departed members take up none.
func (g *Gate) assign() {
	for _, e := range g.entries {
		m := e.m
		if e.own.cause != "" || e.place != "" || m.Role != fleet.RoleUpstream || m.Quarantine != "" || m.Service == "" {
			e.cause, e.reason = e.own.cause, e.own.reason
			continue
		}
		if m.Liveness == fleet.Alive {
			e.cause, e.reason = g.enter(e)
		} else if e.cause == Services || e.cause == Endpoints {
			e.reason = "there was no room for it while it was alive"
		} else {
			e.cause, e.reason = "", ""
		}
	}
}

// enter gives e a place, or says why there is none.
func (g *Gate) enter(e *entry) (Cause, string) {
	service := e.m.Service
	switch n := g.taken[service]; {
	case n == 0 && len(g.taken) >= g.opts.MaxServices:
		return Services, fmt.Sprintf("there are %d services already, see --max-services", len(g.taken))
	case n >= g.opts.MaxEndpoints:
		return Endpoints, fmt.Sprintf("its service has %d endpoints already, see --max-endpoints", n)
	}
	g.taken[service]++
	e.place = service
	return "", ""
}

// leave takes the place of e, if it has one.
func (g *Gate) leave(e *entry) {
	if e.place == "" {
		return
	}
	if g.taken[e.place]--; g.taken[e.place] == 0 {
		delete(g.taken, e.place)
	}
	e.place = ""
}
