package registry

import (
	"cmp"
	"slices"
	"strings"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// candidate is one host with what its own facts ask for.
type candidate struct {
	host Host
	key  probe.Key
	wish wish
}

// candidates are all that could be served under one name.
type candidates struct {
	name string
	mode override.Mode
	all  []candidate
}

// gather finds the candidates of every service.
func gather(in Input) map[string]*candidates {
	services := make(map[string]*candidates)
	get := func(name string) *candidates {
		c := services[name]
		if c == nil {
			c = &candidates{name: name, mode: override.Auto}
			services[name] = c
		}
		return c
	}
	for _, m := range in.Members {
		if m.Role != fleet.RoleUpstream || m.Quarantine != "" {
			continue
		}
		key := keyOf(m.ID.String(), m.Endpoint.Addr)
		w := wishOf(m, in.Evidence[key])
		if w.hidden {
			continue
		}
		c := get(m.Service)
		c.all = append(c.all, candidate{key: key, wish: w, host: Host{
			Endpoint: m.Endpoint, ID: key.ID, Source: Gossip, State: w.state, Since: w.since, Started: m.Started,
		}})
	}
	for _, o := range in.Overrides {
		c := get(o.Service)
		c.mode = o.Mode
		for _, e := range o.Hosts {
			c.all = append(c.all, manualCandidate(o, e, in.Evidence))
		}
	}
	for _, c := range services {
		c.sort()
	}
	return services
}

func manualCandidate(o override.Override, e fleet.Endpoint, _ map[probe.Key]probe.Evidence) candidate {
	w := wish{state: StateHealthy, since: o.Since}
	return candidate{key: keyOf("", e.Addr), wish: w, host: Host{Endpoint: e, Source: Manual, State: w.state, Since: w.since}}
}

// sort brings together the claims to each address: the manual one first, then
// the process that started last. Its forerunner on that address is gone, even
// where gossip has not noticed yet.
func (c *candidates) sort() {
	slices.SortFunc(c.all, func(a, b candidate) int { return compareHosts(a.host, b.host) })
}

// claimants are the candidates that may be served: one for each address, and under
// a pin the manual ones alone.
func (c *candidates) claimants() []candidate {
	var out []candidate
	for i, cand := range c.all {
		if c.outranked(i, cand) {
			continue
		}
		out = append(out, cand)
	}
	return out
}

// others are the hosts that are shown but have no say.
func (c *candidates) others() []Host {
	var out []Host
	for i, cand := range c.all {
		if c.outranked(i, cand) {
			out = append(out, cand.host)
		}
	}
	return out
}

func (c *candidates) outranked(i int, cand candidate) bool {
	if c.mode == override.Pin && cand.host.Source != Manual {
		return true
	}
	return i > 0 && c.all[i-1].host.Addr == cand.host.Addr
}

func sortHosts(hosts []Host) { slices.SortFunc(hosts, compareHosts) }

func compareHosts(a, b Host) int {
	return cmp.Or(a.Addr.Compare(b.Addr), -strings.Compare(string(a.Source), string(b.Source)),
		b.Started.Compare(a.Started), strings.Compare(a.ID, b.ID))
}
