package show

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func seen(last byte, change func(*client.Host)) client.Host {
	h := client.Host{
		IPAddress: netip.AddrFrom4([4]byte{10, 0, 0, last}), Port: 80, ID: fmt.Sprintf("%d0c3a1b2-2222-4333-8444-555555555555", last),
		Source: "gossip", State: "healthy", Served: true, Since: now.Add(-3 * time.Minute), Acked: client.Acked{Have: 2, Of: 3},
		Tags: client.Tags{AZ: "a", Weight: 10},
	}
	change(&h)
	return h
}

func drain() *client.Override {
	return &client.Override{
		ID: "0123456789abcdef", Service: "web", Host: "10.0.0.2:80", State: client.Drain, Weight: 5, Actor: "ann",
		Reason: "disk errors", Since: now.Add(-10 * time.Second), Until: now.Add(time.Hour - time.Millisecond),
	}
}

func services() map[string]client.Service {
	return map[string]client.Service{
		"web": {Mode: "auto", Guard: &client.Guard{Since: now.Add(-20 * time.Second), Held: 1}, Hosts: []client.Host{
			seen(1, func(*client.Host) {}),
			seen(2, func(h *client.Host) { h.Served, h.Override = false, drain() }),
			seen(3, func(h *client.Host) { h.State, h.Served = "dead", false }),
			seen(4, func(h *client.Host) { h.State, h.Held = "silent", true }),
			seen(5, func(h *client.Host) { h.State, h.Served, h.Until = "damped", false, now.Add(30*time.Second) }),
		}},
		"api": {Mode: "pin", Hosts: []client.Host{
			seen(1, func(h *client.Host) { h.ID, h.Source, h.Tags.AZ = "", "manual", "" }),
			seen(1, func(h *client.Host) { h.Served = false }),
			seen(2, func(h *client.Host) { h.Served = false }),
		}},
	}
}

// want compares what draw writes.
func want(t *testing.T, text string, draw func(w io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := draw(&b); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != strings.TrimPrefix(text, "\n") {
		t.Errorf("it is drawn as\n%s", got)
	}
}

func TestServicesAreATable(t *testing.T) {
	want(t, `
SERVICE  MODE  SERVED  DECISIONS  GUARD
api      pin   1 of 2  1          -
web      auto  2 of 5  2          holds 1 for 20s
`, func(w io.Writer) error {
		list, waiting := client.Override{Service: "api", Mode: "pin"}, client.Override{Service: "web", Host: "10.0.0.9:80"}
		return Services(w, now, services(), []client.Override{list, *drain(), waiting, {Service: "new"}})
	})
}

func TestGuardsAreATable(t *testing.T) {
	want(t, `
SERVICE  HELD  SINCE  LETS GO
api      2     20s    once the server hears others
db       3     20s    once connections succeed, or its processes no longer answer
web      3     60s    in 9m
`, func(w io.Writer) error {
		return Guards(w, now, client.Guards{Guards: map[string]client.Guard{
			"web": {Held: 3, Since: now.Add(-time.Minute), Until: now.Add(9 * time.Minute)},
			"api": {Held: 2, Since: now.Add(-20 * time.Second)},
			"db":  {Held: 3, Contradicted: 3, Since: now.Add(-20 * time.Second)},
		}})
	})
}

func TestHostsSayWhyTheyAreNotServed(t *testing.T) {
	want(t, `
SERVICE  HOST         ID        WEIGHT  ZONE  STATE    SINCE  SERVED  ACKED  WHY NOT                                  DECISION
api      10.0.0.1:80  -         10      -     healthy  3m     yes     2/3    -                                        -
api      10.0.0.1:80  10c3a1b2  10      a     healthy  3m     no      2/3    another host has its address             -
api      10.0.0.2:80  20c3a1b2  10      a     healthy  3m     no      2/3    not in the pinned list                   -
web      10.0.0.1:80  10c3a1b2  10      a     healthy  3m     yes     2/3    -                                        -
web      10.0.0.2:80  20c3a1b2  10      a     healthy  3m     no      2/3    an operator said so                      drain weight 5 by ann, 60m left: disk errors
web      10.0.0.3:80  30c3a1b2  10      a     dead     3m     no      2/3    its ports refuse connections             -
web      10.0.0.4:80  40c3a1b2  10      a     silent   3m     held    2/3    -                                        -
web      10.0.0.5:80  50c3a1b2  10      a     damped   3m     no      2/3    it came and went too often, back in 30s  -
`, func(w io.Writer) error { return Hosts(w, now, services(), true) })
	one := map[string]client.Service{"web": {Mode: "auto", Hosts: services()["web"].Hosts[:1]}}
	want(t, `
HOST         ID        WEIGHT  ZONE  STATE    SINCE  SERVED  ACKED  WHY NOT  DECISION
10.0.0.1:80  10c3a1b2  10      a     healthy  3m     yes     2/3    -        -
`, func(w io.Writer) error { return Hosts(w, now, one, false) })
}

func TestDecisionsAreATable(t *testing.T) {
	list := client.Override{ID: "f", Service: "web", Mode: "pin", Hosts: make([]client.ListedHost, 2), Since: now.Add(-72 * time.Hour)}
	tags := client.Override{ID: "a", Service: "web", Host: "h", Tags: map[string]any{"canary": true, "az": "b"}, Since: now, Until: now.Add(-time.Second)}
	want(t, `
ID                SERVICE  HOST         DECISION          BY   SINCE  ENDS              REASON
f                 web      list of 2    pin               -    3d     until taken back  -
0123456789abcdef  web      10.0.0.2:80  drain weight 5    ann  10s    60m left          disk errors
a                 web      h            az=b canary=true  -    0s     over              -
`, func(w io.Writer) error { return Overrides(w, now, []client.Override{list, *drain(), tags}) })
}

func TestTheAuditIsATable(t *testing.T) {
	entries := []client.Entry{
		{At: now, Action: "revoked", Override: client.Override{Service: "web", Host: "10.0.0.2:80", Actor: "bob"}, Before: drain()},
		{At: now.Add(-time.Hour), Action: "created", Override: *drain()},
		{At: now.Add(-2 * time.Hour), Action: "revoked", Override: client.Override{Service: "web"}},
		{At: now.Add(-3 * time.Hour), Action: "key used", Override: client.Override{Actor: "bob"}, Key: "0123456789abcdef"},
		{At: now.Add(-4 * time.Hour), Action: "confirmed", Override: client.Override{Service: "web", Actor: "ann"}},
	}
	want(t, `
AT                   ACTION     SERVICE  HOST                  DECISION        BEFORE          BY   REASON
2026-01-02 05:04:05  revoked    web      10.0.0.2:80           -               drain weight 5  bob  -
2026-01-02 04:04:05  created    web      10.0.0.2:80           drain weight 5  -               ann  disk errors
2026-01-02 03:04:05  revoked    web      list                  -               -               -    -
2026-01-02 02:04:05  key used   -        key 0123456789abcdef  -               -               bob  -
2026-01-02 01:04:05  confirmed  web      -                     -               -               ann  -
`, func(w io.Writer) error { return Audit(w, now.In(time.FixedZone("", 2*3600)), entries) })
}

func TestMembersAndClientsAreTables(t *testing.T) {
	id := uuid.MustParse("11111111-2222-4333-8444-555555555555")
	gossip := netip.MustParseAddrPort("10.0.0.1:7946")
	members := []client.Member{
		{ID: id, Role: fleet.RoleUpstream, Liveness: fleet.Alive, Since: now.Add(-50 * time.Hour), Service: "web",
			IPAddress: gossip.Addr(), Port: 80, State: fleet.Healthy, Tags: client.Tags{Weight: 1}, Gossip: gossip},
		{ID: id, Liveness: fleet.Dead, Since: now, Gossip: gossip, Quarantine: "metadata is not JSON"},
	}
	want(t, `
ID        ROLE      LIVENESS  SINCE  SERVICE  HOST         STATE    WEIGHT  GOSSIP         REFUSED
11111111  upstream  alive     2d     web      10.0.0.1:80  healthy  1       10.0.0.1:7946  -
11111111  -         dead      0s     -        -            -        -       10.0.0.1:7946  metadata is not JSON
`, func(w io.Writer) error { return Members(w, now, members) })
	clients := []client.Follower{{
		Node: "edge", Transport: "delta-ads", Peer: "10.0.0.9:4000", Connected: now.Add(-5 * time.Hour), Seen: now.Add(-time.Second),
		Services: []client.Followed{{Name: "api"}, {Name: "web", BehindSince: now.Add(-7 * time.Second)}},
		NACK:     &client.NACK{Detail: "weight is 0", At: now.Add(-4 * time.Minute)},
	}}
	want(t, `
NODE  TRANSPORT  PEER           CONNECTED  SEEN  SERVICES  BEHIND      REFUSED
edge  delta-ads  10.0.0.9:4000  5h         1s    api,web   web for 7s  4m ago: weight is 0
`, func(w io.Writer) error { return Clients(w, now, clients) })
}

func TestAnAnswerSaysWhatIsDecidedAndWhatCameOfIt(t *testing.T) {
	waiting := client.Decided{Service: "web", Host: "10.0.0.2:80", Override: drain()}
	want(t, `
web 10.0.0.2:80: drain weight 5 by ann, 60m left: disk errors
nobody has this address yet
`, func(w io.Writer) error { return Decided(w, now, waiting) })
	there := seen(2, func(h *client.Host) { h.Served, h.Override = false, drain() })
	want(t, `
web 20c3: nothing is decided
healthy, not served (as 10.0.0.2:80: drain weight 5 by ann, 60m left: disk errors)
`, func(w io.Writer) error {
		return Decided(w, now, client.Decided{Service: "web", Host: "20c3", Endpoint: &there})
	})
}

func TestAgesAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0s", 90 * time.Second: "90s", 119*time.Second + 900*time.Millisecond: "2m", time.Hour - time.Second: "60m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 7*24*time.Hour - time.Second: "7d",
	} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
		if got := age(now, now.Add(d)); got != want {
			t.Errorf("in %s is %s, want %s", d, got, want)
		}
	}
}

func TestWhatANetworkSaysDoesNotSteerATerminal(t *testing.T) {
	bad := drain()
	bad.Reason = "a\x1b[2J\nb\tc"
	var b bytes.Buffer
	_ = Overrides(&b, now, []client.Override{*bad})
	b.WriteString(Decision(now, bad))
	b.WriteString(Event(now, client.Event{Name: "x", Data: []byte("\x1b[2J")}))
	b.WriteString(Event(now, client.Event{Name: "guard", Data: []byte(`{"service":"\u001b[2J"}`)}))
	if strings.ContainsAny(b.String(), "\x1b\t") || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("it is drawn as %q", b.String())
	}
}

func TestAChangeIsALine(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"endpoint", `{"change":"changed","service":"web","ip_address":"10.0.0.1","port":80,"id":"10c3a1b2-2222","state":"healthy","served":true,"load_balancing_weight":5,"override":"0f"}`,
			"03:04:05 endpoint changed web 10.0.0.1:80 10c3a1b2 healthy, served, weight 5"},
		{"endpoint", `{"change":"changed","service":"web","ip_address":"10.0.0.1","port":80,"state":"dead","served":false}`,
			"03:04:05 endpoint changed web 10.0.0.1:80 dead, not served"},
		{"endpoint", `{"change":"removed","service":"web","ip_address":"10.0.0.1","port":80,"state":"dead"}`, "03:04:05 endpoint removed web 10.0.0.1:80"},
		{"endpoint", `{"change":"changed","service":"web","ip_address":"10.0.0.1","port":80,"state":"silent","served":true,"held":true}`,
			"03:04:05 endpoint changed web 10.0.0.1:80 silent, held"},
		{"override", `{"change":"added","service":"web","host":"10.0.0.1:80","state":"drain","actor":"ann","reason":"disk","until":"2026-01-02T04:04:05Z"}`,
			"03:04:05 override added   web 10.0.0.1:80 drain by ann, 60m left: disk"},
		{"override", `{"change":"expired","service":"web","mode":"pin","actor":"ann"}`, "03:04:05 override expired web list pin"},
		{"member", `{"change":"changed","id":"11111111-2222","role":"upstream","service":"web","address":"10.0.0.1:80","liveness":"dead"}`,
			"03:04:05 member   changed 11111111 upstream web 10.0.0.1:80 dead"},
		{"client", `{"change":"changed","node":"edge","transport":"ads","peer":"10.0.0.9:1","refused":"weight is 0"}`,
			"03:04:05 client   changed edge ads 10.0.0.9:1 refused: weight is 0"},
		{"guard", `{"change":"added"}`, "03:04:05 guard    added   this server hears nobody"},
		{"later", `{"change":"added"}`, "03:04:05 later    added  "},
		{"later", `[1]`, "03:04:05 later    [1]"},
	} {
		if got := Event(now, client.Event{Name: tt.name, Data: []byte(tt.data)}); got != tt.want {
			t.Errorf("%s %s is\n%q, want\n%q", tt.name, tt.data, got, tt.want)
		}
	}
}

func TestAScreenFitsItsTerminal(t *testing.T) {
	s := Screen{Server: "http://eds", Services: services(), Trouble: "no answer"}
	for i := range 20 {
		s.Events = append(s.Events, fmt.Sprintf("event %d", i))
	}
	whole := s.Lines(now, 200, 50)
	text := strings.Join(whole, "\n")
	for _, part := range []string{
		"03:04:05  http://eds  2 services, 3 of 7 hosts served  OUT OF DATE: no answer\n\nSERVICE", "web      10.0.0.5:80", "\n\nevent 12\n", "event 19",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	for _, size := range [][2]int{{1, 1}, {40, 3}, {40, 10}, {80, 16}, {80, 24}, {0, 0}} {
		lines := s.Lines(now, size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%d lines on a terminal of %d", len(lines), size[1])
		}
		for _, line := range lines {
			if len([]rune(line)) > max(size[0], 1) {
				t.Errorf("%q on a terminal of %d columns", line, size[0])
			}
		}
	}
	if cut := strings.Join(s.Lines(now, 80, 16), "\n"); !strings.Contains(cut, "… and 5 more") {
		t.Errorf("it does not say what is left out:\n%s", cut)
	}
}
