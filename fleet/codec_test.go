package fleet_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// started is a start time as the codec carries it: UTC, whole milliseconds.
var started = time.UnixMilli(1_753_000_000_123).UTC()

// full is a member with every field set.
func full() fleet.Member {
	return fleet.Member{
		Role: fleet.RoleUpstream, Started: started, Version: fleet.FormatVersion,
		Service: "payments",
		Endpoint: fleet.Endpoint{
			Addr: netip.MustParseAddrPort("10.1.2.3:8080"), Weight: 50,
			Locality: fleet.Locality{Region: "us-central1", Zone: "us-central1-a"},
			Canary:   true, Tags: map[string]string{"version": "1.2 <&>"}, Health: fleet.Draining,
		},
		Probe: fleet.Probe{Kind: fleet.ProbeHTTP, Path: "/ready?full=1&deep", OnBehalf: true},
	}
}

// plain is a member with only the required fields.
func plain() fleet.Member {
	m := full()
	m.Endpoint = fleet.Endpoint{Addr: m.Endpoint.Addr, Weight: fleet.DefaultWeight, Health: fleet.Healthy}
	m.Probe = fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath}
	return m
}

func TestMetadataRoundTrip(t *testing.T) {
	tcp := full()
	tcp.Probe = fleet.Probe{Kind: fleet.ProbeTCP}
	v6 := plain()
	v6.Endpoint.Addr = netip.MustParseAddrPort("[2001:db8::1]:65535")
	eds := fleet.Member{Role: fleet.RoleEDS, Started: started, Version: fleet.FormatVersion}
	leaving := eds
	leaving.Endpoint.Health = fleet.Draining
	for name, m := range map[string]fleet.Member{"full": full(), "plain": plain(), "tcp": tcp, "IPv6": v6, "eds": eds, "leaving eds": leaving} {
		t.Run(name, func(t *testing.T) { roundTrip(t, m) })
	}
}

func TestDefaultsAreNotEncoded(t *testing.T) {
	b, err := fleet.Encode(plain())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"r":"upstream","t":1753000000123,"s":"payments","a":"10.1.2.3:8080"}`
	if string(b) != want {
		t.Errorf("Encode = %s\nwant     %s", b, want)
	}
}

func TestFieldsSetByObserversAreNotEncoded(t *testing.T) {
	m := full()
	want, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	m.ID, m.Liveness, m.Since, m.Quarantine = uuid.New(), fleet.Dead, time.Now(), "bad"
	m.Gossip = netip.MustParseAddrPort("10.9.9.9:7946")
	got, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("Encode = %s\nwant     %s", got, want)
	}
}

// padded is m with tags such that its metadata takes n bytes.
func padded(t *testing.T, m fleet.Member, n int) fleet.Member {
	t.Helper()
	m.Endpoint.Tags = nil
	short, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	n -= len(short) + len(`,"k":{"a":"","b":"","c":""}`)
	m.Endpoint.Tags = map[string]string{"a": strings.Repeat("x", n/3), "b": strings.Repeat("x", n/3), "c": strings.Repeat("x", n-n/3*2)}
	return m
}

func TestEncodeRefusesMoreThanMaxMeta(t *testing.T) {
	m := padded(t, plain(), fleet.MaxMeta)
	b, err := fleet.Encode(m)
	if err != nil || len(b) != fleet.MaxMeta {
		t.Fatalf("Encode of what fits exactly: %d bytes, %v", len(b), err)
	}
	roundTrip(t, m)

	_, err = fleet.Encode(padded(t, plain(), fleet.MaxMeta+1))
	wantError(t, err, "metadata takes 513 bytes, at most 512 are allowed")
	_, err = fleet.Decode(append(b, ' '))
	wantError(t, err, "metadata takes 513 bytes, at most 512 are allowed")
}

func TestValidMembersSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMember().Draw(t, "member")
		if _, err := fleet.Encode(m); err != nil {
			t.Skip(err)
		}
		roundTrip(t, m)
	})
}

// anyMember draws members that are mostly valid; some are too long.
func anyMember() *rapid.Generator[fleet.Member] {
	text := rapid.StringMatching(`[a-z0-9 ."\\<&>é€-]{0,40}`)
	return rapid.Custom(func(t *rapid.T) fleet.Member {
		m := fleet.Member{Role: fleet.RoleEDS, Version: fleet.FormatVersion}
		m.Started = time.UnixMilli(rapid.Int64Range(1, 4e12).Draw(t, "started")).UTC()
		if rapid.IntRange(0, 9).Draw(t, "role") == 0 {
			return m
		}
		m.Role = fleet.RoleUpstream
		m.Service = rapid.StringMatching(`[a-z][a-z0-9.:é-]{0,30}`).Draw(t, "service")
		ip := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 4, 4), rapid.SliceOfN(rapid.Byte(), 16, 16)).Draw(t, "ip")
		addr, _ := netip.AddrFromSlice(ip)
		m.Endpoint = fleet.Endpoint{
			Addr:     netip.AddrPortFrom(addr, rapid.Uint16Min(1).Draw(t, "port")),
			Weight:   rapid.Uint32Range(1, fleet.MaxWeight).Draw(t, "weight"),
			Locality: fleet.Locality{Region: text.Draw(t, "region"), Zone: text.Draw(t, "zone")},
			Canary:   rapid.Bool().Draw(t, "canary"),
			Health:   rapid.SampledFrom([]fleet.Health{fleet.Healthy, fleet.Unhealthy, fleet.Draining}).Draw(t, "health"),
		}
		if tags := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,12}`), text, 0, 4).Draw(t, "tags"); len(tags) > 0 {
			m.Endpoint.Tags = tags
		}
		m.Probe = rapid.SampledFrom([]fleet.Probe{
			{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath}, {Kind: fleet.ProbeHTTP, Path: "/a?b=c"},
			{Kind: fleet.ProbeTCP}, {Kind: fleet.ProbeNone, OnBehalf: true},
		}).Draw(t, "probe")
		return m
	})
}

func TestDecodeRefuses(t *testing.T) {
	valid, err := fleet.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	with := func(key, value string) string {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(valid, &fields); err != nil {
			t.Fatal(err)
		}
		fields[key] = json.RawMessage(value)
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, tc := range map[string]struct{ meta, want string }{
		"nothing":                   {``, "not a JSON object"},
		"garbage":                   {"\x00\x01\x02", "not a JSON object"},
		"an array":                  {`[1]`, "not a JSON object"},
		"null":                      {`null`, "format version 0"},
		"no version":                {`{"r":"eds"}`, "format version 0, this server reads 1"},
		"a later version":           {`{"v":2,"what":"ever"}`, "format version 2, this server reads 1"},
		"a field twice":             {strings.Replace(string(valid), "{", `{"s":"x",`, 1), `field "s" occurs twice`},
		"an unknown field twice":    {strings.Replace(string(valid), "{", `{"y":1,"y":1,`, 1), `field "y" occurs twice`},
		"a tag twice":               {with("k", `{"a":"x","a":"y"}`), `field "a" occurs twice`},
		"a name in upper case":      {with("S", `"x"`), `field "S" differs from "s" only in case`},
		"a name that Unicode folds": {with("\u017f", `"x"`), `differs from "s" only in case`},
		"a wrong type":              {with("s", "[]"), "does not follow format version 1"},
		"something after":           {string(valid) + "{}", "not a JSON object"},
		"bytes not UTF-8":           {strings.Replace(string(valid), "payments", "pay\xff", 1), "not UTF-8"},
		"no role":                   {with("r", `""`), ": want upstream or eds"},
		"no start time":             {with("t", "0"), "start time is not between"},
		"a start before 1970":       {with("t", "-5"), "start time is not between"},
		"a start after 9999":        {with("t", "253402300800000"), "start time is not between"},
		"an eds without start":      {`{"v":1,"r":"eds"}`, "start time is not between"},
		"a host name":               {with("a", `"example.org:80"`), "is not ip:port"},
		"a port out of range":       {with("a", `"10.0.0.1:65536"`), "is not ip:port"},
		"another spelling":          {with("a", `"[1::2:3:4:5:6:7]:80"`), "is not in canonical form: want [1:0:2:3:4:5:6:7]:80"},
		"every interface":           {with("a", `"0.0.0.0:80"`), "every interface"},
		"IPv4 in IPv6":              {with("a", `"[::ffff:10.0.0.1]:80"`), "write 10.0.0.1"},
		"a weight out of range":     {with("w", "65536"), "weight is 65536"},
		"a negative weight":         {with("w", "-1"), "does not follow format version 1"},
		"a service with slash":      {with("s", `"a/b"`), "contains a slash"},
		"an unknown state":          {with("h", `"fine"`), ": want healthy, unhealthy or draining"},
		"an unknown probe":          {with("p", `"icmp"`), ": want http, tcp or none"},
		"a relative path":           {with("q", `"healthz"`), "must begin with a slash"},
		"a path with a space":       {with("q", `"/a b"`), "contain no spaces"},
		"a path of bad escapes":     {with("q", `"/%zz"`), "cannot be requested"},
		"a reserved tag":            {with("k", `{"az":"x"}`), `tag "az" is reserved`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fleet.Decode([]byte(tc.meta))
			wantError(t, err, tc.want)
		})
	}
}

func TestUnknownFieldsAreIgnoredAndKept(t *testing.T) {
	valid, err := fleet.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	const later = `"y":1,"later":{"v":2, "v2":[null]},"é":"}"`
	meta := strings.TrimSuffix(string(valid), "}") + ", " + later + " }"
	got, err := fleet.Decode([]byte(meta))
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Unknown = later
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Decode = %+v\nwant     %+v", got, want)
	}
	roundTrip(t, got)
}

func BenchmarkDecode(b *testing.B) {
	meta, err := fleet.Encode(full())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := fleet.Decode(meta); err != nil {
			b.Fatal(err)
		}
	}
}

func TestALaterVersionIsNamedInTheMember(t *testing.T) {
	m, err := fleet.Decode([]byte(`{"v":7}`))
	if err == nil || m.Version != 7 {
		t.Errorf("Decode = version %d, %v; want version 7 and an error", m.Version, err)
	}
}

func FuzzDecode(f *testing.F) {
	signed := plain()
	signed.Signature = strings.Repeat("A", 86)
	for _, m := range []*fleet.Member{new(full()), new(plain()), new(signed)} {
		b, err := fleet.Encode(*m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		``, `null`, `{"v":2}`, `{"v":1,"r":"eds","t":1}`, `{"v":1,"r":"eds","t":9e99}`,
		`{"v":1,"r":"upstream","t":1,"s":"é\u2028","a":"[1::2:3:4:5:6:7]:080","k":{"a":"\ud800"}}`,
		`{"V":1,"R":"upstream","T":1,"s":"a","S":"b","a":"1.2.3.4:5","w":null,"k":{},"p":"none","q":"/x"}`,
		`{"v":1,"r":"eds","t":1,"later" : {"v":[1e9,null]}, "\u2028\u0079":"\u2028" }`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := fleet.Decode(b)
		if err != nil {
			return
		}
		if _, err := json.Marshal(m); err != nil {
			t.Errorf("an accepted member cannot be shown as JSON: %v", err)
		}
		roundTrip(t, m)
	})
}

// roundTrip fails unless m, encoded and decoded, is m again.
func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, m fleet.Member) {
	t.Helper()
	b, err := fleet.Encode(m)
	if err != nil {
		t.Fatalf("Encode(%+v): %v", m, err)
	}
	if len(b) > fleet.MaxMeta {
		t.Fatalf("Encode wrote %d bytes", len(b))
	}
	got, err := fleet.Decode(b)
	if err != nil {
		t.Fatalf("Decode(%s): %v", b, err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Fatalf("after a round trip\n%+v, want\n%+v", got, m)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}
