package fleet_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestServiceNames(t *testing.T) {
	for name, want := range map[string]string{
		"myservice":              "",
		"a":                      "",
		"shop.payments:v2(eu)":   "",
		"shop payments":          "contains a space",
		"größe":                  "",
		strings.Repeat("x", 200): "",
		strings.Repeat("x", 201): "201 bytes long, at most 200",
		"":                       "is empty",
		"a/b":                    "contains a slash",
		".":                      "relative path",
		"..":                     "relative path",
		"*":                      "wildcard",
		"a\nb":                   "unprintable",
		"a\x7f":                  "unprintable",
		"a\u2028b":               "unprintable",
		"\u202eecivres":          "unprintable",
		"a\xff":                  "unprintable",
	} {
		t.Run(strconv.Quote(name), func(t *testing.T) { wantRefusal(t, fleet.CheckService(name), want) })
	}
}

func TestEndpointAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1":              "",
		"10.0.0.1:65535":           "",
		"[::1]:80":                 "",
		"0.0.0.0:80":               "every interface",
		"[::]:80":                  "every interface",
		"224.0.0.1:80":             "multicast",
		"[ff02::1]:80":             "multicast",
		"255.255.255.255:80":       "broadcast",
		"[fe80::1%eth0]:80":        "has a zone",
		"[::ffff:192.168.0.1]:80":  "write 192.168.0.1",
		"10.0.0.1:0":               "port is 0",
		"[::ffff:255.1.2.3%x]:800": "has a zone",
	} {
		t.Run(addr, func(t *testing.T) { wantRefusal(t, fleet.CheckAddr(netip.MustParseAddrPort(addr)), want) })
	}
	t.Run("none", func(t *testing.T) { wantRefusal(t, fleet.CheckAddr(netip.AddrPort{}), "not an IP address") })
}

func TestWeights(t *testing.T) {
	for w, want := range map[uint32]string{1: "", 65535: "", 0: "weight is 0: want 1 to 65535", 65536: "weight is 65536"} {
		t.Run(strconv.Itoa(int(w)), func(t *testing.T) { wantRefusal(t, fleet.CheckWeight(w), want) })
	}
}

func TestTags(t *testing.T) {
	many := make(map[string]string)
	for i := range fleet.MaxTags + 1 {
		many["t"+strconv.Itoa(i)] = ""
	}
	for name, tc := range map[string]struct {
		tags map[string]string
		want string
	}{
		"none":             {nil, ""},
		"some":             {map[string]string{"version": "1.2", "empty": ""}, ""},
		"too many":         {many, "33 tags, at most 32"},
		"an empty name":    {map[string]string{"": "x"}, "empty name"},
		"az":               {map[string]string{"az": "x"}, "is reserved"},
		"region":           {map[string]string{"region": "x"}, "is reserved"},
		"canary":           {map[string]string{"canary": "true"}, "is reserved"},
		"weight":           {map[string]string{"load_balancing_weight": "5"}, "is reserved"},
		"a bad name":       {map[string]string{"a\x00": ""}, "unprintable"},
		"a bad value":      {map[string]string{"a": "\x1b[2J"}, `tag a "\x1b[2J" has unprintable`},
		"a value too long": {map[string]string{"a": strings.Repeat("x", 201)}, "201 bytes long"},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, fleet.CheckTags(tc.tags), tc.want) })
	}
}

func TestEndpointCheckNamesEveryFault(t *testing.T) {
	err := fleet.Endpoint{
		Locality: fleet.Locality{Region: "\n", Zone: strings.Repeat("z", 201)}, Tags: map[string]string{"": ""},
	}.Check()
	for _, want := range []string{"address", "weight is 0", "region", "az is 201 bytes", "state", "empty name"} {
		wantError(t, err, want)
	}
}

func TestLocalitiesAreOrderedByRegionThenZone(t *testing.T) {
	a, b, c := fleet.Locality{Region: "a", Zone: "z"}, fleet.Locality{Region: "b", Zone: "a"}, fleet.Locality{Region: "b", Zone: "b"}
	if a.Compare(b) >= 0 || b.Compare(c) >= 0 || c.Compare(a) <= 0 || a.Compare(a) != 0 {
		t.Error("localities are out of order")
	}
}

func TestMembersAreOrderedByID(t *testing.T) {
	ms := []*fleet.Member{{ID: uuid.UUID{2}}, {ID: uuid.UUID{0, 9}}, {ID: uuid.UUID{1}}}
	fleet.SortMembers(ms)
	if ms[0].ID != (uuid.UUID{0, 9}) || ms[1].ID != (uuid.UUID{1}) || ms[2].ID != (uuid.UUID{2}) {
		t.Errorf("order is %v", ms)
	}
}

// wantRefusal wants no error for want "", else one that has it.
func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
		return
	}
	wantError(t, err, want)
}
