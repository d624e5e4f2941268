package registry

import (
	"slices"
	"strings"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// index holds the candidates of every service from one Snapshot to the next, and
// finds out what changed between two.
type index struct {
	services map[string]*candidates
	sorted   []*candidates // by name
	resort   bool          // services is not what sorted is

	members  []*fleet.Member // that were there last, by id
	found    []*candidate    // of each; nil for one that is no candidate
	evidence uint64          // the revision that was looked at last
	manual   bool            // there was a manual list

	overrides []override.Override            // that were there last
	ofHosts   map[string][]override.Override // of these, for endpoints, by service
}

func newIndex() index { return index{services: make(map[string]*candidates)} }

// update brings the candidates to what in says. The members are by id.
func (x *index) update(in *Input, members []*fleet.Member) {
	looked := in.EvidenceRevision == 0 || in.EvidenceRevision != x.evidence
	found := make([]*candidate, len(members))
	next := 0 // of the members that were there last
	for i, m := range members {
		for next < len(x.members) && fleet.CompareIDs(x.members[next], m) < 0 {
			x.drop(x.found[next])
			next++
		}
		if next == len(x.members) || fleet.CompareIDs(x.members[next], m) > 0 {
			found[i] = x.add(m, in.Evidence)
			continue
		}
		found[i] = x.found[next]
		if !found[i].still(m, x.members[next], in.Evidence, looked) {
			x.drop(x.found[next])
			found[i] = x.add(m, in.Evidence)
		}
		next++
	}
	for _, gone := range x.found[next:] {
		x.drop(gone)
	}
	x.members, x.found, x.evidence = members, found, in.EvidenceRevision
	// A store that has nothing new hands over what it did before.
	decided := len(in.Overrides) != len(x.overrides) || len(in.Overrides) > 0 && &in.Overrides[0] != &x.overrides[0]
	if decided || looked {
		x.list(in)
	}
	if decided {
		x.decide(in.Overrides)
	}
	x.rank()
}

// decide finds the services whose endpoints have other overrides than before.
func (x *index) decide(overrides []override.Override) {
	before := x.ofHosts
	x.overrides, x.ofHosts = overrides, byService(overrides)
	for _, names := range []map[string][]override.Override{before, x.ofHosts} {
		for name := range names {
			if c := x.services[name]; c != nil && !c.rulings.same(x.ofHosts[name]) {
				c.changed = true
			}
		}
	}
}

// still reports whether a candidate, or that there is none, is what m and the
// evidence make of it. Evidence that was not looked up counts as unchanged.
func (c *candidate) still(m, was *fleet.Member, evidence map[probe.Key]probe.Evidence, looked bool) bool {
	return m.Equal(was) && (c == nil || !looked || evidence[c.key] == c.evidence)
}

// add makes a candidate of m, if it may be one.
func (x *index) add(m *fleet.Member, evidence map[probe.Key]probe.Evidence) *candidate {
	if m.Role != fleet.RoleUpstream || m.Quarantine != "" {
		return nil
	}
	key := keyOf(m)
	cand := memberCandidate(m, key, evidence[key])
	cand.of = x.get(m.Service)
	cand.of.fresh = append(cand.of.fresh, cand)
	cand.of.changed = true
	return cand
}

func (x *index) drop(cand *candidate) {
	if cand != nil {
		cand.stale, cand.of.changed = true, true
		cand.of.stale = append(cand.of.stale, cand)
	}
}

func (x *index) get(name string) *candidates {
	c := x.services[name]
	if c == nil {
		c = &candidates{name: name, mode: override.Auto}
		x.services[name] = c
		x.resort = true
	}
	return c
}

// list brings in the manual lists, and what the probes say of their endpoints. There
// are few of them: all are rebuilt.
func (x *index) list(in *Input) {
	if x.manual {
		x.manual = false
		for _, c := range x.services {
			if c.mode != override.Auto {
				for _, cand := range c.manual {
					x.drop(cand)
				}
				c.mode, c.manual, c.changed = override.Auto, nil, true
			}
		}
	}
	for i := range in.Overrides {
		o := &in.Overrides[i]
		if o.Host != "" {
			continue
		}
		c := x.get(o.Service)
		c.mode, c.changed = o.Mode, true
		x.manual = true
		for i := range o.Hosts {
			cand := manualCandidate(o.Since, &o.Hosts[i], in.Evidence)
			cand.of = c
			c.manual = append(c.manual, cand)
		}
		c.fresh = append(c.fresh, c.manual...)
	}
}

// rank brings the services that changed in order, and forgets those that are empty.
func (x *index) rank() {
	for name, c := range x.services {
		if !c.changed {
			continue
		}
		c.keep(x.ofHosts[name])
		if len(c.ranked) == 0 && c.mode == override.Auto {
			delete(x.services, name)
			x.resort = true
		}
	}
	if !x.resort {
		return
	}
	x.resort, x.sorted = false, x.sorted[:0]
	for _, c := range x.services {
		x.sorted = append(x.sorted, c)
	}
	slices.SortFunc(x.sorted, func(a, b *candidates) int { return strings.Compare(a.name, b.name) })
}
