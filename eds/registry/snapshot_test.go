package registry

import (
	"net/netip"
	"strings"
	"testing"
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
