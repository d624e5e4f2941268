package registry

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func upstream(n byte, change ...func(*fleet.Member)) *fleet.Member {
	m := &fleet.Member{
		ID: uuid.UUID{15: n}, Role: fleet.RoleUpstream, Started: epoch, Version: fleet.FormatVersion, Service: "myservice",
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8080+uint16(n)), Weight: 1, Health: fleet.Healthy},
		Liveness: fleet.Alive, Since: epoch,
	}
	for _, f := range change {
		f(m)
	}
	return m
}

// decide asks a new Registry, at the epoch.
func decide(in Input) *Snapshot {
	in.Now = epoch
	snap, _ := New(defaults).Decide(in)
	return snap
}

func manual(mode override.Mode, ports ...uint16) override.Override {
	o := override.Override{Key: override.Key{Service: "myservice"}, Mode: mode, Since: epoch}
	for _, p := range ports {
		o.Hosts = append(o.Hosts, override.Host{Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p), Weight: 1, Health: fleet.Healthy}})
	}
	return o
}

func TestRegistryDecidesWhichEndpointsServe(t *testing.T) {
	at := func(port uint16) func(*fleet.Member) {
		return func(m *fleet.Member) { m.Endpoint.Addr = netip.AddrPortFrom(m.Endpoint.Addr.Addr(), port) }
	}
	health := func(h fleet.Health) func(*fleet.Member) { return func(m *fleet.Member) { m.Endpoint.Health = h } }
	liveness := func(l fleet.Liveness) func(*fleet.Member) { return func(m *fleet.Member) { m.Liveness = l } }
	started := func(after time.Duration) func(*fleet.Member) {
		return func(m *fleet.Member) { m.Started = epoch.Add(after) }
	}
	for _, tt := range []struct {
		name      string
		members   []*fleet.Member
		overrides []override.Override
		want      []uint16 // ports served by myservice
	}{
		{name: "nobody"},
		{name: "live and healthy members", members: []*fleet.Member{upstream(2), upstream(1)}, want: []uint16{8081, 8082}},
		{name: "not a draining one", members: []*fleet.Member{upstream(1), upstream(2, health(fleet.Draining))}, want: []uint16{8081}},
		{name: "not an unhealthy one", members: []*fleet.Member{upstream(1, health(fleet.Unhealthy))}},
		{name: "not one that is gone", members: []*fleet.Member{upstream(1, liveness(fleet.Dead)), upstream(2, liveness(fleet.Left))}},
		{name: "not a quarantined one", members: []*fleet.Member{upstream(1, func(m *fleet.Member) { m.Quarantine = "bad" })}},
		{name: "not an eds server", members: []*fleet.Member{upstream(1, func(m *fleet.Member) { m.Role = fleet.RoleEDS })}},
		{name: "one for each address", members: []*fleet.Member{upstream(1, at(9000)), upstream(2, at(9000))}, want: []uint16{9000}},
		{
			name:    "a restarted process outlives its forerunner's death",
			members: []*fleet.Member{upstream(1, at(9000), liveness(fleet.Dead)), upstream(2, at(9000), started(time.Second))},
			want:    []uint16{9000},
		},
		{
			name:    "the word of the forerunner counts for nothing",
			members: []*fleet.Member{upstream(1, at(9000)), upstream(2, at(9000), started(time.Second), health(fleet.Unhealthy))},
		},
		{name: "merge adds manual hosts", members: []*fleet.Member{upstream(1)}, overrides: []override.Override{manual(override.Merge, 18080)}, want: []uint16{8081, 18080}},
		{name: "merge alone makes a service", overrides: []override.Override{manual(override.Merge, 18080)}, want: []uint16{18080}},
		{
			name:    "a manual host outranks a member on the same address",
			members: []*fleet.Member{upstream(1, health(fleet.Draining))}, overrides: []override.Override{manual(override.Merge, 8081)},
			want: []uint16{8081},
		},
		{name: "pin serves its list alone", members: []*fleet.Member{upstream(1)}, overrides: []override.Override{manual(override.Pin, 18080)}, want: []uint16{18080}},
		{name: "an empty pin serves nobody", members: []*fleet.Member{upstream(1)}, overrides: []override.Override{manual(override.Pin)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc, _ := decide(Input{Members: tt.members, Overrides: tt.overrides}).Find("myservice")
			var got []uint16
			for _, h := range svc.Served() {
				got = append(got, h.Addr.Port())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("served %v, want %v", got, tt.want)
			}
		})
	}
}

func TestManualHostOnAMembersAddressIsServedAsManual(t *testing.T) {
	svc, _ := decide(Input{Members: []*fleet.Member{upstream(1)}, Overrides: []override.Override{manual(override.Merge, 8081)}}).Find("myservice")
	if served := svc.Served(); len(served) != 1 || served[0].Source != Manual {
		t.Errorf("served %+v, want the manual host", served)
	}
	if len(svc.Hosts) != 2 || !svc.Hosts[0].Since.Equal(epoch) {
		t.Errorf("shown are %+v, want both, the manual one first, since it was decided", svc.Hosts)
	}
}

func TestEmptyPinMakesAService(t *testing.T) {
	svc, ok := decide(Input{Overrides: []override.Override{manual(override.Pin)}}).Find("myservice")
	if !ok || svc.Mode != override.Pin || len(svc.Hosts) != 0 {
		t.Errorf("got %+v, %v", svc, ok)
	}
}

func TestPinShowsExcludedEndpoints(t *testing.T) {
	svc, ok := decide(Input{Members: []*fleet.Member{upstream(1)}, Overrides: []override.Override{manual(override.Pin)}}).Find("myservice")
	if !ok || svc.Mode != override.Pin || len(svc.Hosts) != 1 || svc.Hosts[0].Served {
		t.Errorf("got %+v", svc)
	}
}

// A member that gossip has forgotten stays for as long as it serves. That it is taken out
// must not leave a Snapshot that the next one differs from though nothing has happened.
func TestForgottenMemberIsDroppedWithTheSnapshotThatRemovesIt(t *testing.T) {
	s := play(t, `
		a-c join
		b behalf
		b answer
		b lost
		b forgotten
		want served a-c
		a silent
		b dead`)
	if snap, _ := s.registry.Decide(s.in); !reflect.DeepEqual(snap, s.snap) {
		t.Errorf("decided again, it says\n%s\ninstead of\n%s", &script{snap: snap, in: s.in}, s)
	}
}
