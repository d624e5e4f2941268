package registry

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestHostsAreFoundByTheirAddress(t *testing.T) {
	at := func(addr, id string, served bool) *Host {
		h := &Host{ID: id, Served: served}
		h.Addr = netip.MustParseAddrPort(addr)
		return h
	}
	s := Service{Hosts: []*Host{
		at("10.0.0.1:80", "a", true), at("10.0.0.2:80", "b", false), at("10.0.0.2:80", "c", true),
		at("10.0.0.2:80", "d", false), at("10.0.0.2:80", "e", true), at("10.0.0.3:80", "f", true),
	}}
	for addr, want := range map[string]string{"10.0.0.1:80": "a", "10.0.0.2:80": "bcde", "10.0.0.3:80": "f", "10.0.0.4:80": "", "10.0.0.1:79": ""} {
		var got strings.Builder
		for _, h := range s.At(netip.MustParseAddrPort(addr)) {
			got.WriteString(h.ID)
		}
		if got.String() != want {
			t.Errorf("%s: %q, want %q", addr, got.String(), want)
		}
	}
	var got strings.Builder
	for _, h := range s.Served() {
		got.WriteString(h.ID)
	}
	if got.String() != "acf" {
		t.Errorf("served are %q, one for each address", got.String())
	}
	for range s.EachServed() {
		break // a walk may end early
	}
}

func TestKnownEndpointsAreThoseWithAClearState(t *testing.T) {
	at := func(i byte, state string, served bool) *Host {
		h := &Host{State: state, Served: served}
		h.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 80)
		return h
	}
	drained := at(5, StateSilent, false)
	drained.Override = &override.Override{}
	for _, tt := range []struct {
		name string
		s    Service
		want int
	}{
		{"none", Service{}, 0},
		{"served", Service{Hosts: []*Host{at(1, StateHealthy, true), at(2, StateSilent, true)}}, 2},
		{"silent", Service{Hosts: []*Host{at(1, StateHealthy, true), at(2, StateSilent, false)}}, 1},
		{"dead or draining", Service{Hosts: []*Host{at(1, StateDead, false), at(2, StateDraining, false)}}, 2},
		{"of one address", Service{Hosts: []*Host{at(1, StateHealthy, true), at(1, StateDead, false)}}, 1},
		{"kept out by an operator", Service{Hosts: []*Host{drained}}, 1},
		{"not shown any more", Service{Departed: 2, Hosts: []*Host{at(1, StateHealthy, true)}}, 3},
		{"pinned", Service{Mode: override.Pin}, math.MaxInt32},
	} {
		if got := tt.s.Known(); got != tt.want {
			t.Errorf("%s: %d known, want %d", tt.name, got, tt.want)
		}
	}
}

func TestDepartedEndpointsAreCountedUnlessAnotherProcessHasTheirAddress(t *testing.T) {
	lost := func(m *fleet.Member) { m.Liveness = fleet.Dead }
	left := upstream(3, func(m *fleet.Member) { m.Liveness = fleet.Left })
	dead, replaced := upstream(1, lost), upstream(2, lost)
	snap := decide(Input{
		Members: []*fleet.Member{dead, replaced, left, upstream(4)},
		Evidence: map[probe.Key]probe.Evidence{
			keyOf(dead):     {Verdict: probe.Dead, Tried: true, Since: epoch},
			keyOf(replaced): {Verdict: probe.Replaced, Tried: true, Since: epoch},
		},
	})
	if s := snap.Services[0]; s.Departed != 2 || s.Known() != 3 {
		t.Errorf("%d departed and %d known, want 2 and 3", s.Departed, s.Known())
	}
}
