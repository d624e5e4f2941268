package fleet

import (
	"net/netip"
	"testing"
)

func TestAnIPv6NetworkAndLoopbackAreOnePartyEach(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"::ffff:192.0.2.1":     "192.0.2.1",
		"2001:db8::1":          "2001:db8::",
		"2001:db8:0:0:ffff::1": "2001:db8::",
		"2001:db8:0:1::1":      "2001:db8:0:1::",
		"fe80::1%eth0":         "fe80::",
		"127.0.0.1":            "127.0.0.1",
		"127.1.2.3":            "127.0.0.1",
		"::ffff:127.1.2.3":     "127.0.0.1",
		"::1":                  "127.0.0.1",
	} {
		if got := Party(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s is of %s, want %s", addr, got, want)
		}
	}
	if got := Party(netip.Addr{}); got.IsValid() {
		t.Errorf("no address is of %s", got)
	}
}

func TestThePartyOfAConnection(t *testing.T) {
	for address, want := range map[string]netip.Addr{
		"192.0.2.1:80": netip.MustParseAddr("192.0.2.1"), "[2001:db8::1]:80": netip.MustParseAddr("2001:db8::"), "127.0.0.9:1": loopback,
		"pipe": {}, "": {},
	} {
		if got := PartyOf(address); got != want {
			t.Errorf("%q is of %s, want %s", address, got, want)
		}
	}
}
