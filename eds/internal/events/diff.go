package events

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// fact is an Event before it has a place.
type fact struct {
	kind Kind
	data any
}

// diffSnapshots lists what changed between two Snapshots.
func diffSnapshots(was, now *registry.Snapshot) []fact {
	var facts []fact
	mergeShared(was.Members, now.Members, fleet.CompareIDs, func(a, b *fleet.Member) {
		if change := changeOf(a, b, func() bool { return sameMember(a, b) }); change != "" {
			facts = append(facts, fact{KindMember, memberFact(change, present(a, b))})
		}
	})
	merge(was.Services, now.Services, func(a, b *registry.Service) int { return strings.Compare(a.Name, b.Name) }, func(a, b *registry.Service) {
		if a != nil && b != nil && a.Same(*b) {
			return
		}
		facts = append(facts, diffHosts(present(a, b).Name, hostsOf(a), hostsOf(b))...)
		facts = append(facts, diffGuards(a, b)...)
	})
	if was.Isolated != now.Isolated {
		facts = append(facts, fact{KindGuard, Guard{Change: onOff(now.Isolated)}})
	}
	return facts
}

func diffHosts(service string, was, now []*registry.Host) []fact {
	var facts []fact
	mergeShared(first(was), first(now), func(a, b *registry.Host) int { return a.Addr.Compare(b.Addr) }, func(a, b *registry.Host) {
		if change := changeOf(a, b, func() bool { return sameHost(a, b) }); change != "" {
			facts = append(facts, fact{KindEndpoint, hostFact(change, service, present(a, b))})
		}
	})
	return facts
}

// first leaves one endpoint for each address: the one whose address it is.
func first(hosts []*registry.Host) []*registry.Host {
	for i := 1; i < len(hosts); i++ {
		if hosts[i].Addr == hosts[i-1].Addr {
			firsts := slices.Clone(hosts[:i])
			for _, h := range hosts[i:] {
				if h.Addr != firsts[len(firsts)-1].Addr {
					firsts = append(firsts, h)
				}
			}
			return firsts
		}
	}
	return hosts
}

func diffGuards(was, now *registry.Service) []fact {
	var a, b *registry.Guard
	if was != nil {
		a = was.Guard
	}
	if now != nil {
		b = now.Guard
	}
	change := changeOf(a, b, func() bool { return *a == *b })
	if change == "" {
		return nil
	}
	g := Guard{Change: change, Service: present(was, now).Name}
	if b != nil {
		g.Held, g.Until = b.Held, b.Until
	}
	return []fact{{KindGuard, g}}
}

// diffOverrides lists what changed between two lists of overrides in force.
func diffOverrides(was, now []override.Override, at time.Time) []fact {
	var facts []fact
	merge(was, now, func(a, b *override.Override) int { return a.Compare(b.Key) }, func(a, b *override.Override) {
		change := changeOf(a, b, func() bool { return a.Stamp == b.Stamp })
		if change == Removed && !a.InForce(at) {
			change = Expired
		}
		if change != "" {
			facts = append(facts, fact{KindOverride, overrideFact(change, present(a, b))})
		}
	})
	return facts
}

// diffClients lists which xDS clients came, went or refused something. Both are
// sorted by compareClients.
func diffClients(was, now []xds.Client) []fact {
	var facts []fact
	merge(was, now, compareClients, func(a, b *xds.Client) {
		change := changeOf(a, b, func() bool { return b.NACK == nil || a.NACK != nil && *a.NACK == *b.NACK })
		if change == "" {
			return
		}
		c := present(a, b)
		f := Client{Change: change, Node: c.Node, Transport: c.Transport, Peer: c.Peer}
		if b != nil && b.NACK != nil {
			f.Refused = b.NACK.Detail
		}
		facts = append(facts, fact{KindClient, f})
	})
	return facts
}

// compareClients orders by what does not change of a client: a stream has its
// port, one that polls may have another each time, but always has a node.
func compareClients(a, b *xds.Client) int {
	return cmp.Or(a.Connected.Compare(b.Connected), strings.Compare(a.Transport, b.Transport), strings.Compare(lasting(a), lasting(b)))
}

func lasting(c *xds.Client) string {
	if c.Transport == xds.TransportREST || c.Transport == xds.TransportRESTv2 {
		return c.Node
	}
	return c.Peer
}

// merge walks two sorted lists and pairs what is equal; nil stands for nothing.
func merge[T any](was, now []T, compare func(a, b *T) int, pair func(a, b *T)) {
	for len(was) > 0 || len(now) > 0 {
		var c int
		switch {
		case len(was) == 0:
			c = 1
		case len(now) == 0:
			c = -1
		default:
			c = compare(&was[0], &now[0])
		}
		var a, b *T
		if c <= 0 {
			a, was = &was[0], was[1:]
		}
		if c >= 0 {
			b, now = &now[0], now[1:]
		}
		pair(a, b)
	}
}

// mergeShared does so for lists that share unchanged elements, which it skips.
func mergeShared[T any](was, now []*T, compare func(a, b *T) int, pair func(a, b *T)) {
	merge(was, now, func(a, b **T) int { return compare(*a, *b) }, func(a, b **T) {
		switch {
		case a == nil:
			pair(nil, *b)
		case b == nil:
			pair(*a, nil)
		case *a != *b:
			pair(*a, *b)
		}
	})
}

// changeOf says how b follows a; "" when they are the same.
func changeOf[T any](a, b *T, same func() bool) Change {
	switch {
	case a == nil && b == nil:
		return ""
	case a == nil:
		return Added
	case b == nil:
		return Removed
	case same():
		return ""
	default:
		return Changed
	}
}

// present is b, or a where b is nothing.
func present[T any](a, b *T) *T {
	if b == nil {
		return a
	}
	return b
}

func onOff(on bool) Change {
	if on {
		return Added
	}
	return Removed
}

func hostsOf(s *registry.Service) []*registry.Host {
	if s == nil {
		return nil
	}
	return s.Hosts
}
