package registry

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// ruling is what operators set for one endpoint. An override may name the process by
// its uuid and another one its address: where both say something the later counts.
type ruling struct {
	state  override.State
	weight uint32
	tags   map[string]string
	by     *override.Override // the one that set state; without a state the latest

	made [2]*override.Override // what it was made of
}

// newRuling makes one ruling of the overrides about an address and a process, either
// of which may be nil.
func newRuling(addr, id *override.Override) *ruling {
	a, b := addr, id
	switch {
	case a == nil && b == nil:
		return nil
	case a == nil:
		a, b = b, &override.Override{}
	case b == nil:
		b = &override.Override{}
	case a.Stamp.Compare(b.Stamp) < 0:
		a, b = b, a
	}
	r := &ruling{state: a.State, weight: cmp.Or(a.Weight, b.Weight), tags: a.Tags, by: a, made: [2]*override.Override{addr, id}}
	if r.state == "" && b.State != "" {
		r.state, r.by = b.State, b
	}
	if len(b.Tags) > 0 {
		r.tags = maps.Clone(b.Tags)
		maps.Copy(r.tags, a.Tags)
	}
	return r
}

// out reports whether the endpoint is not to be served; r may be nil.
func (r *ruling) out() bool {
	return r != nil && (r.state == override.Drain || r.state == override.Exclude)
}

// force reports whether the endpoint is to be served in any case; r may be nil.
func (r *ruling) force() bool { return r != nil && r.state == override.Force }

// apply replaces fields of h by what r sets; r may be nil.
func (r *ruling) apply(h Host) Host {
	if r == nil {
		return h
	}
	h.Override = r.by
	if r.weight != 0 {
		h.Weight = r.weight
	}
	if len(r.tags) > 0 {
		h.Endpoint = retag(h.Endpoint, r.tags)
	}
	return h
}

// retag sets tags by the names that the API has for them.
func retag(e fleet.Endpoint, decided map[string]string) fleet.Endpoint {
	further := make(map[string]string)
	for name, value := range decided {
		switch name {
		case "az":
			e.Locality.Zone = value
		case "region":
			e.Locality.Region = value
		case "canary":
			e.Canary, _ = strconv.ParseBool(value) // override.Check has read it
		default:
			further[name] = value
		}
	}
	if len(further) == 0 {
		return e
	}
	for _, name := range slices.Sorted(maps.Keys(e.Tags)) {
		if _, ok := further[name]; !ok && len(further) < fleet.MaxTags { // Envoy is given no more
			further[name] = e.Tags[name]
		}
	}
	e.Tags = further
	return e
}

// rulings finds the overrides about the endpoints of one service. The zero value has none.
type rulings struct {
	made   []override.Override // of what: those with a host, sorted by it
	byID   map[string]*override.Override
	byAddr map[netip.AddrPort]*override.Override
}

// update takes in which overrides changed. What did not change stays at its
// place in memory, so that a ruling made of it need not be made again. It reports whether there was any.
func (r *rulings) update(overrides []override.Override) bool {
	if r.same(overrides) {
		return false
	}
	if r.byID == nil {
		r.byID, r.byAddr = make(map[string]*override.Override), make(map[netip.AddrPort]*override.Override)
	}
	old := r.made
	for i := range overrides {
		d := &overrides[i]
		for len(old) > 0 && old[0].Host < d.Host {
			r.set(old[0].Host, nil)
			old = old[1:]
		}
		if len(old) > 0 && old[0].Host == d.Host {
			kept := old[0].Stamp == d.Stamp
			if old = old[1:]; kept {
				continue
			}
		}
		r.set(d.Host, new(*d)) // not at its place in a list that would be kept for it
	}
	for _, gone := range old {
		r.set(gone.Host, nil)
	}
	r.made = overrides
	return true
}

// set notes the override about an endpoint; nil for none any more.
func (r *rulings) set(host string, d *override.Override) {
	addr, err := netip.ParseAddrPort(host)
	switch {
	case err == nil && d == nil:
		delete(r.byAddr, addr)
	case err == nil:
		r.byAddr[addr] = d
	case d == nil:
		delete(r.byID, host)
	default:
		r.byID[host] = d
	}
}

// of returns the ruling for cand alone, or nil: what it has, where that
// still holds.
func (r *rulings) of(cand *candidate) *ruling {
	made := [2]*override.Override{r.byAddr[cand.key.Addr], r.byID[cand.key.ID]}
	if cand.own != nil && cand.own.made == made {
		return cand.own
	}
	return newRuling(made[0], made[1])
}

// same reports whether r was made of these overrides.
func (r *rulings) same(overrides []override.Override) bool {
	if len(r.made) == len(overrides) && (len(overrides) == 0 || &r.made[0] == &overrides[0]) {
		return true
	}
	return slices.EqualFunc(r.made, overrides, func(a, b override.Override) bool { return a.Host == b.Host && a.Stamp == b.Stamp })
}

// byService parts the overrides for endpoints by service. They are sorted by service,
// lists before endpoints.
func byService(all []override.Override) map[string][]override.Override {
	parts := make(map[string][]override.Override)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Service == all[0].Service {
			n++
		}
		part := all[:n:n]
		for len(part) > 0 && part[0].Host == "" {
			part = part[1:]
		}
		if len(part) > 0 {
			parts[part[0].Service] = part
		}
		all = all[n:]
	}
	return parts
}
