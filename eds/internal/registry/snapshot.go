// Package registry decides which endpoints serve: from what gossip reports, what
// operators set and what the probes saw, to an immutable Snapshot. It reads no
// clock, starts no goroutine and does no I/O, so that every rule can be tested as a
// table of events.
package registry

import (
	"iter"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// Source says who put an endpoint on the list.
type Source string

// The sources of an endpoint.
const (
	Gossip Source = "gossip"
	Manual Source = "manual"
)

// Snapshot is everything this EDS server holds true at one moment. It is
// immutable: any goroutine may read it for as long as it likes.
type Snapshot struct {
	// Settled is false while gossip may still know less than the truth; until then
	// nothing in Services may be handed to an Envoy.
	Settled bool

	// Revision is the override store's revision that went in.
	Revision uint64

	// Isolated is true while an endpoint has fallen silent and none is heard:
	// everything stays as it was, without limit.
	Isolated bool

	Services []Service       // sorted by name
	Members  []*fleet.Member // sorted by id, including quarantined and departed ones
}

// Service is one EDS resource: what is served under a name, and what is not and why.
type Service struct {
	Name  string
	Mode  override.Mode
	Hosts []*Host // sorted by address, the one that has the address first
	Guard *Guard  // nil unless it holds

	// Departed counts the addresses whose endpoints are not shown, since they left or
	// are proven dead, and where no other one is.
	Departed int
}

// Host is one endpoint of a service as the registry sees it. One that stays as it
// was is the same from one Snapshot to the next.
type Host struct {
	fleet.Endpoint
	ID      string // the member's uuid; "" for a manual endpoint
	Source  Source
	Probe   bool      // a manual endpoint that the operator wants probed
	State   string    // StateHealthy and its like
	Served  bool      // in the assignment
	Held    bool      // served only because guard or isolation say so
	Until   time.Time // with StateDamped: when it is served again
	Since   time.Time // of State, by this server's clock
	Started time.Time // of the member's process; zero for a manual endpoint

	// Override is what an operator set for this endpoint; may be nil. Weight and
	// tags are what it says, and State is the endpoint's own.
	Override *override.Override
}

// Find returns the service called name.
func (s *Snapshot) Find(name string) (Service, bool) {
	i, ok := slices.BinarySearchFunc(s.Services, name, func(s Service, name string) int { return strings.Compare(s.Name, name) })
	if !ok {
		return Service{}, false
	}
	return s.Services[i], true
}

// Member returns the member of this id.
func (s *Snapshot) Member(id uuid.UUID) (*fleet.Member, bool) {
	i, known := fleet.FindMember(s.Members, id)
	if !known {
		return nil, false
	}
	return s.Members[i], true
}

// Serves reports whether the endpoint of a member is in service.
func (s *Snapshot) Serves(m *fleet.Member) bool {
	svc, _ := s.Find(m.Service)
	id := m.ID.String()
	return slices.ContainsFunc(svc.At(m.Endpoint.Addr), func(h *Host) bool { return h.Served && h.ID == id })
}

// InService returns the members with an endpoint in service. With heard, those that are
// in service only because guard or isolation keep them are left out.
func (s *Snapshot) InService(heard bool) map[uuid.UUID]bool {
	ids := make(map[uuid.UUID]bool)
	for _, svc := range s.Services {
		for _, h := range svc.Hosts {
			if id, err := uuid.Parse(h.ID); err == nil && h.Served && !(heard && h.Held) { // a manual endpoint has no member
				ids[id] = true
			}
		}
	}
	return ids
}

// host returns what s says of the host that key names, or nothing, and whether
// it was in service but for an operator who kept it out.
func (s *Snapshot) host(service string, key probe.Key) (h Host, inService bool) {
	svc, _ := s.Find(service)
	superseded := false
	for _, h := range svc.At(key.Addr) {
		if h.ID == key.ID {
			return *h, h.Served || (h.State == StateHealthy && !superseded)
		}
		superseded = superseded || h.Source == Gossip
	}
	return Host{}, false
}

// Same reports whether s and o are the same, taken over from one Snapshot to
// the next since nothing asked for another. Two that are not the same may still
// say the same.
func (s Service) Same(o Service) bool {
	return len(s.Hosts) > 0 && len(s.Hosts) == len(o.Hosts) && &s.Hosts[0] == &o.Hosts[0] && s.Mode == o.Mode && s.Guard == o.Guard
}

// Served returns the endpoints of s that are in its assignment, in order, one for each
// address. They are those of s: do not modify them.
func (s Service) Served() []*Host {
	return slices.AppendSeq(make([]*Host, 0, len(s.Hosts)), s.EachServed())
}

// EachServed walks over what Served returns.
func (s Service) EachServed() iter.Seq[*Host] {
	return func(yield func(*Host) bool) {
		var last *Host
		for _, h := range s.Hosts {
			if !h.Served || last != nil && last.Addr == h.Addr {
				continue
			}
			if last = h; !yield(h) {
				return
			}
		}
	}
}

// Known counts the endpoints of which this server knows what became of them: they are
// served, or it knows why they are not. Silence is no reason, and an operator's pin
// decides about all that there may be.
func (s Service) Known() int {
	if s.Mode == override.Pin {
		return math.MaxInt32
	}
	n := s.Departed
	var last netip.AddrPort // counted
	for _, h := range s.Hosts {
		if h.Addr != last && (h.Served || h.Override != nil || h.State != StateSilent) {
			n, last = n+1, h.Addr
		}
	}
	return n
}

// At returns the endpoints that claim an address, the one that has it first. They are
// those of s: do not modify them.
func (s Service) At(addr netip.AddrPort) []*Host {
	i := sort.Search(len(s.Hosts), func(i int) bool { return s.Hosts[i].Addr.Compare(addr) >= 0 })
	end := i
	for end < len(s.Hosts) && s.Hosts[end].Addr == addr {
		end++
	}
	return s.Hosts[i:end:end]
}
