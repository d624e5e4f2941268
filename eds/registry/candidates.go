package registry

import (
	"cmp"
	"slices"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// candidate is one host with what its own facts ask for.
type candidate struct {
	host      Host // Served and its like are filled in last
	key       probe.Key
	wish      wish
	alive     bool  // gossip says so
	judged    bool  // its coming and going is watched, which an operator may not want
	outranked bool  // it has no say: another has its address, or a pin keeps it out
	mute      *mute // nil when it is not mute
}

// candidates are all that could be served under one name.
type candidates struct {
	name   string
	mode   override.Mode
	ranked []*candidate // by address, the best claim to each first
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
	for i, m := range members {
		if m.Role == fleet.RoleUpstream && m.Quarantine == "" {
			room[i] = memberCandidate(m, evidence)
			c := get(m.Service)
			c.ranked = append(c.ranked, &room[i])
		}
	}
	for _, o := range overrides {
		c := get(o.Service)
		c.mode = o.Mode
		for _, h := range o.Hosts {
			c.ranked = append(c.ranked, manualCandidate(o, h, evidence))
		}
	}
	for _, c := range services {
		c.rank()
	}
	return services
}

// keyOf is what the evidence about a member is filed under.
func keyOf(m fleet.Member) probe.Key { return probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr} }

func memberCandidate(m fleet.Member, evidence map[probe.Key]probe.Evidence) candidate {
	key := keyOf(m)
	w := wishOf(m, evidence[key])
	return candidate{key: key, wish: w, alive: m.Liveness == fleet.Alive, judged: true, host: Host{
		Endpoint: m.Endpoint, ID: key.ID, Source: Gossip, State: w.state, Since: w.since, Started: m.Started,
	}}
}

// manualCandidate is served without a question unless the operator wants it probed.
func manualCandidate(o override.Override, h override.Host, evidence map[probe.Key]probe.Evidence) *candidate {
	key := probe.Key{Addr: h.Addr}
	w := wish{state: StateHealthy}
	if h.Probe {
		w = probed(evidence[key])
	}
	if o.Since.After(w.since) {
		w.since = o.Since
	}
	return &candidate{key: key, wish: w, judged: h.Probe, host: Host{
		Endpoint: h.Endpoint, Source: Manual, Probe: h.Probe, State: w.state, Since: w.since,
	}}
}

// rank brings together the claims to each address, of which the first counts, and
// notes who is outranked.
func (c *candidates) rank() {
	slices.SortFunc(c.ranked, compareClaims)
	for i, cand := range c.ranked {
		cand.outranked = (c.mode == override.Pin && cand.host.Source != Manual) ||
			(i > 0 && c.ranked[i-1].host.Addr == cand.host.Addr)
	}
}

// compareClaims puts the manual claim to an address first, then the process that
// started last. Its forerunner on that address is gone, even where gossip has not
// noticed yet; if clocks say otherwise, it is put last once it is known to be gone.
func compareClaims(a, b *candidate) int {
	if c := a.host.Addr.Compare(b.host.Addr); c != 0 {
		return c
	}
	return cmp.Or(
		first(a.host.Source == Manual, b.host.Source == Manual),
		first(!a.gone(), !b.gone()),
		first(a.alive, b.alive),
		b.host.Started.Compare(a.host.Started),
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
