package xds

import (
	"slices"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// departure is an endpoint that is leaving or has left.
type departure struct {
	registry.Host
	dead  bool   // does not answer, or is unhealthy
	seq   uint64 // of the push that says so; 0 until it is about to be made
	until time.Time
}

// old reports whether d is no longer sent to any client.
func (d departure) old(now time.Time) bool { return now.Sub(d.until) > goneFor }

// resource is what is served under a name: an assignment, and the endpoints that left it
// lately. It does not change.
type resource struct {
	*assignment             // of those that stay
	leaving     []departure // sorted by seq; some stream may not have acknowledged it
	gone        []departure // every stream has; a poller may not

	mu    sync.Mutex
	steps map[uint64]*assignment // what after made, by the first departure in it
}

// nothing is the resource of a service without endpoints.
func nothing(name string) *resource { return &resource{assignment: empty(name)} }

// build returns the resource of a service, the one it has if nothing changed.
func (s *serving) build() *resource {
	var before *assignment
	if s.current != nil {
		before = s.current.assignment
	}
	a := newAssignment(s.name, staying(s.wanted), before)
	if before != nil && before.same(a) {
		a = before
	}
	r := &resource{assignment: a, leaving: slices.Clone(s.leaving), gone: slices.Clone(s.gone)}
	if s.current != nil && s.current.same(r) {
		return s.current
	}
	return r
}

// same reports whether every stream receives the same from r as from o.
func (r *resource) same(o *resource) bool {
	return r.assignment.same(o.assignment) && slices.EqualFunc(r.leaving, o.leaving, func(a, b departure) bool {
		return a.seq == b.seq && a.Addr == b.Addr && a.ID == b.ID
	})
}

// after is what a stream is sent whose client has acknowledged what was current at seq:
// the endpoints that left since are in it, as unhealthy.
func (r *resource) after(seq uint64) *assignment {
	i := slices.IndexFunc(r.leaving, func(d departure) bool { return d.seq > seq })
	if i < 0 {
		return r.assignment
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.leaving[i].seq
	if a := r.steps[first]; a != nil {
		return a
	}
	if r.steps == nil {
		r.steps = make(map[uint64]*assignment)
	}
	r.steps[first] = r.with(r.leaving[i:])
	return r.steps[first]
}

// missed is what a poller receives that has what was current at seq.
func (r *resource) missed(seq uint64, now time.Time) *assignment {
	return r.with(slices.DeleteFunc(slices.Concat(r.gone, r.leaving), func(d departure) bool { return d.seq <= seq || d.old(now) }))
}

// with is the assignment with leaving in it as unhealthy. Where no more than half would
// be healthy, Envoy ignores health (its panic threshold, 50 % unless the cluster says
// otherwise): the dead are then left out at once, since they would get requests.
func (r *resource) with(leaving []departure) *assignment {
	if len(r.hosts) <= len(leaving) {
		leaving = slices.DeleteFunc(slices.Clone(leaving), func(d departure) bool { return d.dead })
	}
	if len(leaving) == 0 {
		return r.assignment
	}
	hosts := slices.Clone(r.hosts)
	for _, d := range leaving {
		hosts = append(hosts, served{Host: &d.Host, leaving: true})
	}
	slices.SortFunc(hosts, func(a, b served) int { return a.Addr.Compare(b.Addr) })
	return newAssignment(r.name, hosts, r.assignment)
}
