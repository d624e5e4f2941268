// Package registry decides which endpoints serve. Merge is a pure function from
// what gossip reports and what operators decided to a Snapshot; it reads no
// clock, starts no goroutine and does no I/O, so that the same fleet gives the
// same answer on every EDS server.
package registry

import (
	"cmp"
	"slices"
	"strings"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// Input is what Merge decides from. Merge keeps no reference to the slices but
// shares the values in them.
type Input struct {
	Settled   bool
	Revision  uint64 // of Overrides
	Members   []fleet.Member
	Overrides []override.Override // at most one for each service
}

// Merge decides. A pin outranks a merge, a merge outranks gossip.
func Merge(in Input) *Snapshot {
	services := make(map[string]*Service)
	get := func(name string) *Service {
		s := services[name]
		if s == nil {
			s = &Service{Name: name, Mode: override.Auto}
			services[name] = s
		}
		return s
	}
	for _, m := range in.Members {
		if m.Role == fleet.RoleUpstream && m.Liveness == fleet.Alive && m.Quarantine == "" {
			s := get(m.Service)
			s.Hosts = append(s.Hosts, gossipHost(m))
		}
	}
	for _, o := range in.Overrides {
		s := get(o.Service)
		s.Mode = o.Mode
		if o.Mode == override.Pin {
			for i := range s.Hosts {
				s.Hosts[i].Served = false
			}
		}
		for _, e := range o.Hosts {
			s.Hosts = append(s.Hosts, Host{Endpoint: e, Source: Manual, State: string(e.Health), Served: true, Since: o.Since})
		}
	}
	out := &Snapshot{Settled: in.Settled, Revision: in.Revision, Members: slices.Clone(in.Members)}
	fleet.SortMembers(out.Members)
	for _, s := range services {
		settleHosts(s.Hosts)
		out.Services = append(out.Services, *s)
	}
	slices.SortFunc(out.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func gossipHost(m fleet.Member) Host {
	return Host{
		Endpoint: m.Endpoint, ID: m.ID.String(), Source: Gossip, State: string(m.Endpoint.Health),
		Served: m.Endpoint.Health == fleet.Healthy, Since: m.Since, Started: m.Started,
	}
}

// settleHosts sorts hosts and lets at most one claim to each address serve: the
// manual one, else the process that started last. Its forerunner on that address
// is gone, even where gossip has not noticed yet, so that one's word counts for
// nothing, neither to serve nor to die.
func settleHosts(hosts []Host) {
	slices.SortFunc(hosts, func(a, b Host) int {
		return cmp.Or(a.Addr.Compare(b.Addr), -strings.Compare(string(a.Source), string(b.Source)),
			b.Started.Compare(a.Started), strings.Compare(a.ID, b.ID))
	})
	for i := 1; i < len(hosts); i++ {
		if hosts[i].Addr == hosts[i-1].Addr {
			hosts[i].Served = false
		}
	}
}
