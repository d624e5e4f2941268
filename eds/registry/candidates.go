package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// candidate is one host with what its own facts ask for.
type candidate struct {
	key      probe.Key
	endpoint *fleet.Endpoint // in the list it came in
	source   Source
	started  time.Time // zero for a manual host
	alive    bool      // gossip says so
	probed   bool      // a manual host that the operator wants probed
	wish     wish

	outranked  bool  // it has no say: an operator keeps it out, or it is superseded
	superseded bool  // by another process at its address
	mute       *mute // nil when it is not mute
}

// candidates are all that could be served under one name.
type candidates struct {
	name   string
	mode   override.Mode
	ranked []*candidate // by address, the best claim to each first
	bad    int          // how many go against their will, if nobody holds them
}

func (c *candidates) add(cand *candidate) {
	c.ranked = append(c.ranked, cand)
	if cand.wish.reason.against() {
		c.bad++
	}
}

// gather finds the candidates of every service, by its name.
func gather(members []fleet.Member, overrides []override.Override, evidence map[probe.Key]probe.Evidence) map[string]*candidates {
	services := make(map[string]*candidates)
	get := func(name string) *candidates {
		c := services[name]
		if c == nil {
			c = &candidates{name: name, mode: override.Auto}
			services[name] = c
		}
		return c
	}
	room := make([]candidate, len(members))
	for i := range members {
		if m := &members[i]; m.Role == fleet.RoleUpstream && m.Quarantine == "" {
			room[i] = memberCandidate(m, evidence)
			get(m.Service).add(&room[i])
		}
	}
	for _, o := range overrides {
		c := get(o.Service)
		c.mode = o.Mode
		for i := range o.Hosts {
			c.add(manualCandidate(o.Since, &o.Hosts[i], evidence))
		}
	}
	for _, c := range services {
		c.rank()
	}
	return services
}

// keyOf is what the evidence about a member is filed under.
func keyOf(m *fleet.Member) probe.Key { return probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr} }

func memberCandidate(m *fleet.Member, evidence map[probe.Key]probe.Evidence) candidate {
	key := keyOf(m)
	return candidate{
		key: key, endpoint: &m.Endpoint, source: Gossip, started: m.Started,
		alive: m.Liveness == fleet.Alive, wish: wishOf(m, evidence[key]),
	}
}

// manualCandidate is served without a question unless the operator wants it probed.
func manualCandidate(since time.Time, h *override.Host, evidence map[probe.Key]probe.Evidence) *candidate {
	c := &candidate{key: probe.Key{Addr: h.Addr}, endpoint: &h.Endpoint, source: Manual, probed: h.Probe, wish: wish{state: StateHealthy}}
	if h.Probe {
		c.wish = probed(evidence[c.key])
	}
	if since.After(c.wish.since) {
		c.wish.since = since
	}
	return c
}

// host is how c is shown, as far as it is known before anybody objects.
func (c *candidate) host() Host {
	return Host{
		Endpoint: *c.endpoint, ID: c.key.ID, Source: c.source, Probe: c.probed,
		State: c.wish.state, Since: c.wish.since, Started: c.started,
	}
}

// unasked reports whether an operator wants c served whatever happens to it.
func (c *candidate) unasked() bool { return c.source == Manual && !c.probed }

// rank brings together the claims to each address, of which the first counts, and
// notes who is outranked.
func (c *candidates) rank() {
	slices.SortFunc(c.ranked, compareClaims)
	for i, cand := range c.ranked {
		second := i > 0 && c.ranked[i-1].key.Addr == cand.key.Addr
		cand.superseded = second && c.ranked[i-1].source == Gossip
		cand.outranked = second || (c.mode == override.Pin && cand.source == Gossip)
	}
}

// compareClaims puts the manual claim to an address first, then the process that
// started last. Its forerunner on that address is gone, even where gossip has not
// noticed yet; if clocks say otherwise, it is put last once it is known to be gone.
func compareClaims(a, b *candidate) int {
	if c := a.key.Addr.Compare(b.key.Addr); c != 0 {
		return c
	}
	return cmp.Or(
		first(a.source == Manual, b.source == Manual),
		first(!a.gone(), !b.gone()),
		first(a.alive, b.alive),
		b.started.Compare(a.started),
		cmp.Compare(a.key.ID, b.key.ID),
	)
}

// gone reports whether the process is known not to come back.
func (c *candidate) gone() bool { return c.wish.hidden && !c.wish.reason.mute() }

// first orders true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
