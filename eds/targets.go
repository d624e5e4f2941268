package eds

import (
	"net/netip"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// provenFor is how long an endpoint whose ports refuse is asked again, once gossip
// has given it up too: its process cannot come back under the same id.
const provenFor = time.Minute

// targetsOf says whom to probe: the live members that allow it, the lost ones that
// may come back, and the manual hosts for which an operator asked. Equal input
// gives equal output, in order.
func (l *loop) targetsOf(now time.Time, members []*fleet.Member, overrides []override.Override, evidence map[probe.Key]probe.Evidence) []probe.Target {
	given := make(map[probe.Key]bool)
	defer func() { l.givenUp = given }()
	targets := make([]probe.Target, 0, len(l.targets)+1)
	for _, m := range members {
		if m.Role != fleet.RoleUpstream || m.Quarantine != "" || m.Probe.Kind == fleet.ProbeNone || m.Liveness == fleet.Left {
			continue
		}
		t := probe.Target{Key: probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}, Kind: m.Probe.Kind, Path: m.Probe.Path, Gossip: m.Gossip}
		if m.Probe.OnBehalf {
			t.Gossip = netip.AddrPort{}
		}
		if m.Liveness == fleet.Dead && (l.givenUp[t.Key] || givenUp(now, m, evidence[t.Key])) {
			given[t.Key] = true // its evidence goes with the target
			continue
		}
		targets = append(targets, t)
	}
	for _, o := range overrides {
		for _, h := range o.Hosts {
			if h.Probe {
				targets = append(targets, probe.Target{Key: probe.Key{Addr: h.Addr}, Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath})
			}
		}
	}
	return targets
}

func givenUp(now time.Time, m *fleet.Member, e probe.Evidence) bool {
	switch {
	case m.Endpoint.Health == fleet.Draining, e.Verdict == probe.Replaced:
		return true
	case e.Verdict == probe.Dead:
		return now.Sub(m.Since) > provenFor
	default:
		return false
	}
}
