package decide

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/turns"
)

// Whatever comes, goes and changes: targets that remember are those that are made
// from scratch of the same members, except for those given up, and they report changes.
func TestTargetsFollowTheMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1, 0)
		var kept targets
		pool, evidence := map[byte]*fleet.Member{}, map[probe.Key]probe.Evidence{}
		given := map[probe.Key]bool{}
		for range rapid.IntRange(1, 80).Draw(t, "turns") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			changeTarget(t, now, pool, evidence)
			members := slices.SortedFunc(maps.Values(pool), fleet.CompareIDs)
			overrides := probedList(rapid.IntRange(0, 2).Draw(t, "manual hosts"))
			before := kept.list
			moved := kept.update(now, members, overrides, evidence)
			var want []probe.Target
			want, given = targetsAnew(now, members, overrides, evidence, given)
			if !slices.Equal(kept.list, want) {
				t.Fatalf("targets are %v, made anew %v", kept.list, want)
			}
			if same := slices.Equal(before, want); moved == same {
				t.Fatalf("a list that is the same: %t is told to be another one: %t", same, moved)
			}
		}
	})
}

// targetsAnew says it from nothing but who was given up before.
func targetsAnew(now time.Time, members []*fleet.Member, overrides []override.Override, evidence map[probe.Key]probe.Evidence, before map[probe.Key]bool) (list []probe.Target, given map[probe.Key]bool) {
	given = map[probe.Key]bool{}
	for _, m := range members {
		target := targetOf(m, turnOf(uuid.UUID{}, members))
		if target == nil {
			continue
		}
		if m.Liveness == fleet.Dead && (before[target.Key] || givenUp(now, m, evidence[target.Key])) {
			given[target.Key] = true
			continue
		}
		list = append(list, *target)
	}
	return append(list, manualTargets(overrides, turnOf(uuid.UUID{}, members))...), given
}

// changeTarget changes one thing of one member.
func changeTarget(t *rapid.T, now time.Time, pool map[byte]*fleet.Member, evidence map[probe.Key]probe.Evidence) {
	n := byte(rapid.IntRange(1, 2).Draw(t, "member"))
	m := fleet.Member{
		ID: uuid.UUID{n}, Role: fleet.RoleUpstream, Service: "myservice", Liveness: fleet.Alive, Since: now,
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80), Weight: 1, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeTCP}, Gossip: netip.MustParseAddrPort("10.0.0.1:7946"),
	}
	if was := pool[n]; was != nil {
		m = *was
	}
	switch rapid.SampledFrom([]string{"weight", "dead", "dead", "dead", "alive", "left", "forgotten", "draining", "quarantine", "behalf", "moved", "evidence", "evidence", "evidence", "nothing"}).Draw(t, "event") {
	case "weight":
		m.Endpoint.Weight++
	case "dead":
		m.Liveness, m.Since = fleet.Dead, now
	case "alive":
		m.Liveness, m.Since = fleet.Alive, now
	case "left":
		m.Liveness, m.Since = fleet.Left, now
	case "forgotten":
		delete(pool, n)
		return
	case "draining":
		m.Endpoint.Health = fleet.Draining
	case "quarantine":
		m.Quarantine = "bad"
	case "behalf":
		m.Probe.OnBehalf = !m.Probe.OnBehalf
	case "moved":
		m.Endpoint.Addr = netip.AddrPortFrom(m.Endpoint.Addr.Addr(), m.Endpoint.Addr.Port()^1)
	case "evidence":
		evidence[probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}] = probe.Evidence{Verdict: rapid.SampledFrom([]probe.Verdict{probe.Good, probe.Silent, probe.Dead, probe.Replaced}).Draw(t, "verdict")}
		return
	case "nothing":
		return
	}
	pool[n] = &m
}

// probedList is a manual list of so many endpoints that are probed.
func probedList(n int) []override.Override {
	o := override.Override{Key: override.Key{Service: "manual"}, Mode: override.Merge}
	for i := range n {
		o.Hosts = append(o.Hosts, override.Host{Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80), Weight: 1}, Probe: true})
	}
	return []override.Override{o}
}

func TestEDSServersHaveTheirTurnsByID(t *testing.T) {
	server := func(n byte, l fleet.Liveness) *fleet.Member {
		return &fleet.Member{ID: uuid.UUID{n}, Role: fleet.RoleEDS, Liveness: l}
	}
	members := []*fleet.Member{server(1, fleet.Alive), server(2, fleet.Dead), server(3, fleet.Alive), server(5, fleet.Alive),
		{ID: uuid.UUID{4}, Role: fleet.RoleUpstream, Liveness: fleet.Alive}}
	for self, want := range map[byte]turns.Turn{1: {Share: 0, Shares: 3}, 3: {Share: 1, Shares: 3}, 5: {Share: 2, Shares: 3}, 4: {Share: 2, Shares: 4}} { // 4: it is not in the list
		if got := turnOf(uuid.UUID{self}, members); got != want {
			t.Errorf("server %d has turn %+v, want %+v", self, got, want)
		}
	}
}

// What probes find of each kind of member decides how it is asked.
func TestForeignProgramsAreCheckedInTurnsUnlessTheirMemberReports(t *testing.T) {
	gossips := netip.MustParseAddrPort("10.0.0.1:7946")
	for _, tt := range []struct {
		probe  fleet.Probe
		gossip netip.AddrPort
		want   *probe.Target // of how it is asked alone
	}{
		{fleet.Probe{Kind: fleet.ProbeHTTP}, gossips, &probe.Target{Gossip: gossips}},
		{fleet.Probe{Kind: fleet.ProbeHTTP, OnBehalf: true}, gossips, &probe.Target{Foreign: true, Turn: turns.Turn{Share: 1, Shares: 4}}},
		{fleet.Probe{Kind: fleet.ProbeTCP, OnBehalf: true}, gossips, &probe.Target{Foreign: true, Turn: turns.Turn{Share: 1, Shares: 4}}},
		{fleet.Probe{Kind: fleet.ProbeNone, OnBehalf: true}, gossips, &probe.Target{Gossip: gossips}},
		{fleet.Probe{Kind: fleet.ProbeNone}, netip.AddrPort{}, nil},
	} {
		m := &fleet.Member{ID: uuid.UUID{1}, Role: fleet.RoleUpstream, Liveness: fleet.Alive, Probe: tt.probe, Gossip: tt.gossip}
		got := targetOf(m, turns.Turn{Share: 1, Shares: 3})
		if want := tt.want; want != nil {
			want.Key, want.Kind = keyOf(m), tt.probe.Kind
		}
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.probe, got, tt.want)
		}
	}
}
