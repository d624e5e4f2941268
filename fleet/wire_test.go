package fleet

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// longestFields has each field that has a bound of its own at its longest.
var longestFields = map[string]wire{
	"v": {Version: FormatVersion},
	"r": {Role: RoleUpstream},
	"t": {Started: time.Date(maxYear, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli()},
	"n": {Revision: math.MaxUint64},
	"s": {Service: strings.Repeat("s", MaxServiceName)},
	"a": {Addr: netip.AddrPortFrom(netip.MustParseAddr(strings.Repeat("ffff:", 7)+"ffff"), math.MaxUint16).String()},
	"w": {Weight: MaxWeight},
	"g": {Region: strings.Repeat("s", MaxServiceName)},
	"z": {Zone: strings.Repeat("s", MaxServiceName)},
	"c": {Canary: true},
	"h": {Health: Unhealthy},
	"p": {Probe: ProbeNone},
	"o": {OnBehalf: true},
	"i": {Interval: MaxCheck.Milliseconds()},
	"d": {Timeout: MaxCheck.Milliseconds()},
	"x": {Signed: strings.Repeat("A", signatureRoom-len(`,"x":""`))},
}

func TestBudgetTableIsWhatTheCodeDoes(t *testing.T) {
	doc := readWireDoc(t)
	rows := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(.+)` \\|.*\\| ([^|]*) \\| [^|]*\\|$").FindAllStringSubmatch(doc, -1) {
		rows[row[1]] = row[2]
	}
	for _, name := range knownFields {
		want := "the rest"
		if w, bounded := longestFields[name]; bounded {
			want = fmt.Sprint(len(`,`) + fieldSize(t, w, name))
		}
		if rows[name] != want {
			t.Errorf("docs/wire.md: field %q takes %q, want %q", name, rows[name], want)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/wire.md has a row for %q, which is no field", name)
	}
}

// fieldSize is how long the field of this name is in w.
func fieldSize(t *testing.T, w wire, name string) int {
	t.Helper()
	object, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	if err := eachField(object, func(n string, field, _ []byte) error {
		if n == name {
			size = len(field)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return size
}

func TestBudgetTextSaysWhatIsLeft(t *testing.T) {
	doc := strings.Join(strings.Fields(readWireDoc(t)), " ")
	left := func(addr string, signed bool) int {
		m := Member{Role: RoleUpstream, Started: time.UnixMilli(1_753_000_000_123)}
		m.Endpoint.Addr = netip.MustParseAddrPort(addr)
		b, err := m.longest().encode()
		if err != nil {
			t.Fatal(err)
		}
		n := MaxMeta - len(b)
		if signed {
			n -= signatureRoom
		}
		return n
	}
	v4, v6 := "255.255.255.255:65535", longestFields["a"].Addr
	for _, want := range []string{
		fmt.Sprintf("IPv4 address %d bytes are left for service, locality, tags, health path and the other settings, %d where members sign", left(v4, false), left(v4, true)),
		fmt.Sprintf("with an IPv6 address %d and %d", left(v6, false), left(v6, true)),
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("docs/wire.md does not say %q", want)
		}
	}
}

func readWireDoc(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}
