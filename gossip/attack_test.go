package gossip

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// forge sends packets to p as an outsider.
func forge(t *testing.T, p *Pool, packets func(send func([]byte))) {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Self().Gossip))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	packets(func(b []byte) { _, _ = conn.Write(b) })
}

func TestTenThousandFakeMembersFindNoRoom(t *testing.T) {
	t.Parallel()
	const most = 50
	p := open(t, Options{Bounds: Bounds{MaxMembers: most}})
	q := open(t, Options{Seeds: seedOf(p)})
	sees(t, p, q.Self().ID, is(fleet.Alive))
	meta, err := fleet.Encode(upstreamMember())
	if err != nil {
		t.Fatal(err)
	}
	forge(t, p, func(send func([]byte)) {
		for i := range 10_000 {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9)
			send(memnet.Alive(DefaultFleet, uuid.NewString(), at, 1, meta))
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // so that most of them are read
			}
		}
	})
	eventually(t, func() bool { return p.Refused().Crowded > 1000 }, "the fakes over the bound are not counted")
	if n := p.members.others(); n > most {
		t.Errorf("%d others are alive, want at most %d", n, most)
	}
	if m, _ := find(p, q.Self().ID); m.Liveness != fleet.Alive {
		t.Errorf("the real member is lost: %+v", m)
	}
}

func TestOversizedMetadataIsQuarantined(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	id := uuid.New()
	forge(t, p, func(send func([]byte)) {
		send(memnet.Alive(DefaultFleet, id.String(), netip.MustParseAddrPort("127.0.0.1:9"), 1, bytes.Repeat([]byte("x"), 40_000)))
	})
	if m := sees(t, p, id, is(fleet.Alive)); m.Quarantine == "" || m.Role != "" {
		t.Errorf("it is believed: %+v", m)
	}
}

func TestAFloodOfJoinsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Bounds: Bounds{MaxMembers: 10}}
		if err := o.Bounds.prepare(); err != nil {
			t.Fatal(err)
		}
		self := node(t, 1, fleet.Healthy)
		ms := newMembers(self.Name, slog.New(slog.DiscardHandler), newThrottle(), o.admission(&counts{}))
		ms.NotifyJoin(self)
		comes := func() bool {
			n := node(t, 2, fleet.Draining)
			if ms.NotifyAlive(n) != nil {
				return false
			}
			ms.NotifyJoin(n)
			ms.NotifyLeave(n)
			return true
		}
		let := 0
		for range 1000 {
			if comes() {
				let++
			}
		}
		if let != 10 || ms.counts.hurried.Load() != 990 {
			t.Errorf("%d were let in at once, %d refused", let, ms.counts.hurried.Load())
		}
		time.Sleep(time.Minute)
		if !comes() {
			t.Error("a minute later nobody is let in")
		}
	})
}

func TestOneAddressHoldsSoManyMembers(t *testing.T) {
	t.Parallel()
	o := Options{Bounds: Bounds{MaxMembersPerAddr: 3}}
	if err := o.Bounds.prepare(); err != nil {
		t.Fatal(err)
	}
	self := node(t, 1, fleet.Healthy)
	ms := newMembers(self.Name, slog.New(slog.DiscardHandler), newThrottle(), o.admission(&counts{}))
	ms.NotifyJoin(self)
	var in []*memberlist.Node
	for range 5 {
		if n := node(t, 2, fleet.Healthy); ms.NotifyAlive(n) == nil {
			ms.NotifyJoin(n)
			in = append(in, n)
		}
	}
	if len(in) != 3 || ms.counts.crowdedAddr.Load() != 2 {
		t.Fatalf("%d were let in", len(in))
	}
	if ms.NotifyAlive(in[0]) != nil {
		t.Error("who is in is refused when it says something")
	}
	if ms.NotifyAlive(node(t, 3, fleet.Healthy)) != nil {
		t.Error("another address is refused")
	}
	ms.NotifyLeave(in[0])
	if ms.NotifyAlive(node(t, 2, fleet.Healthy)) != nil {
		t.Error("the place of one that is gone is not free")
	}
}

func TestMembersFromElsewhereAreNotLetIn(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Bounds: Bounds{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	open(t, Options{Seeds: seedOf(p)})
	eventually(t, func() bool { return p.Refused().Strangers > 0 }, "nobody is refused")
	if n := len(p.Members()); n != 1 {
		t.Errorf("%d members", n)
	}
	near := open(t, Options{Bounds: Bounds{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	q := open(t, Options{Seeds: seedOf(near)})
	sees(t, near, q.Self().ID, is(fleet.Alive))
}
