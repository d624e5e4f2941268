package eds

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// Relays are at other addresses than the server, the member and each other, and are heard.
func TestRelaysHaveOtherAddresses(t *testing.T) {
	evidence := make(map[probe.Key]probe.Evidence)
	var members []*fleet.Member
	add := func(host byte, role fleet.Role, change func(*fleet.Member), e probe.Evidence) {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, host})
		m := &fleet.Member{ID: uuid.New(), Role: role, Liveness: fleet.Alive, Gossip: netip.AddrPortFrom(addr, 7946)}
		m.Endpoint.Addr = netip.AddrPortFrom(addr, 8080)
		if change != nil {
			change(m)
		}
		members = append(members, m)
		evidence[probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}] = e
	}
	good := probe.Evidence{Verdict: probe.Good, Tried: true}
	add(1, fleet.RoleEDS, nil, probe.Evidence{}) // the server itself
	add(2, fleet.RoleUpstream, nil, good)        // beside the member
	add(1, fleet.RoleUpstream, nil, good)        // beside the server
	add(3, fleet.RoleUpstream, nil, probe.Evidence{Verdict: probe.Good, Tried: true, Late: true})
	add(4, fleet.RoleUpstream, nil, probe.Evidence{Verdict: probe.Contradicted, Tried: true})
	add(5, fleet.RoleUpstream, func(m *fleet.Member) { m.Liveness = fleet.Dead }, good)
	add(6, fleet.RoleUpstream, func(m *fleet.Member) { m.Quarantine = "bad" }, good)
	r := newRelays(netip.AddrFrom4([4]byte{10, 0, 0, 1}), func() []*fleet.Member { return members },
		func() map[probe.Key]probe.Evidence { return evidence })
	about := netip.AddrFrom4([4]byte{10, 0, 0, 2})
	if got := r.choose(about); len(got) != 0 {
		t.Errorf("%v can be asked", got)
	}
	add(7, fleet.RoleEDS, nil, probe.Evidence{})
	for range 3 {
		add(8, fleet.RoleUpstream, nil, good)
	}
	r.listed = time.Time{}
	if got := r.choose(about); len(got) != 2 || got[0].Role != fleet.RoleEDS {
		t.Errorf("%v, want the other EDS server and one upstream at another address", got)
	}
	for host := range byte(10) {
		add(20+host, fleet.RoleUpstream, nil, good)
		add(40+host, fleet.RoleEDS, nil, probe.Evidence{})
	}
	r.listed = time.Time{}
	seen := make(map[netip.Addr]bool)
	for range 20 {
		got := r.choose(about)
		addrs := make(map[netip.Addr]bool)
		servers := 0
		for _, m := range got {
			addrs[m.Gossip.Addr()], seen[m.Gossip.Addr()] = true, true
			if m.Role == fleet.RoleEDS {
				servers++
			}
		}
		if len(addrs) != relaysMost || servers != relaysOfEDS {
			t.Errorf("%v, of which %d are EDS servers", got, servers)
		}
	}
	if len(seen) < 8 {
		t.Errorf("always the same %d are asked", len(seen))
	}
}
