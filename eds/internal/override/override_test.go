package override

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func host(addr string) Host {
	return Host{Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort(addr), Weight: 1, Health: fleet.Healthy}}
}

func list(service string, mode Mode, addrs ...string) Override {
	o := Override{Key: Key{Service: service}, Mode: mode, Since: time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)}
	for _, a := range addrs {
		o.Hosts = append(o.Hosts, host(a))
	}
	return o
}

// change makes the second host of a good list a bad one.
func change(f func(*Host)) Override {
	o := list("s", Merge, "10.0.0.1:80", "10.0.0.2:80")
	f(&o.Hosts[1])
	return o
}

func TestCheck(t *testing.T) {
	var many []Host
	for i := range MaxHosts + 1 {
		many = append(many, host(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80).String()))
	}
	for name, tt := range map[string]struct {
		o    Override
		want string // "" when it is good
	}{
		"merge":             {list("s", Merge, "10.0.0.1:80", "[fd00::1]:80"), ""},
		"pin":               {list("s", Pin, "10.0.0.1:80"), ""},
		"pin of nobody":     {list("s", Pin), ""},
		"one ip, two ports": {list("s", Pin, "10.0.0.1:80", "10.0.0.1:81"), ""},
		"10000 hosts":       {Override{Key: Key{Service: "s"}, Mode: Pin, Hosts: many[:MaxHosts]}, ""},
		"10001 hosts":       {Override{Key: Key{Service: "s"}, Mode: Pin, Hosts: many}, "hosts has 10001 entries"},
		"no service":        {list("", Pin), "service name is empty"},
		"service slash":     {list("a/b", Pin), "slash"},
		"service too long":  {list(strings.Repeat("a", 201), Pin), "201 bytes"},
		"no mode":           {list("s", ""), `mode is ""`},
		"auto":              {list("s", Auto), `mode is "auto"`},
		"no address":        {change(func(e *Host) { e.Addr = netip.AddrPort{} }), "hosts[1]: address"},
		"port 0":            {change(func(e *Host) { e.Addr = netip.MustParseAddrPort("10.0.0.2:0") }), "hosts[1]: port is 0"},
		"unspecified":       {change(func(e *Host) { e.Addr = netip.MustParseAddrPort("[::]:80") }), "hosts[1]: address"},
		"weight 0":          {change(func(e *Host) { e.Weight = 0 }), "hosts[1]: weight is 0"},
		"weight 65536":      {change(func(e *Host) { e.Weight = 65536 }), "hosts[1]: weight is 65536"},
		"no health":         {change(func(e *Host) { e.Health = "" }), `hosts[1]: state ""`},
		"a reserved tag":    {change(func(e *Host) { e.Tags = map[string]string{"az": "z"} }), `hosts[1]: tag "az"`},
		"address twice":     {change(func(e *Host) { e.Addr = netip.MustParseAddrPort("10.0.0.1:80") }), "hosts[1]: address 10.0.0.1:80 is already hosts[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.o.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
