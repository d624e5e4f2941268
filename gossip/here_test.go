package gossip

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
)

// A server that is killed and started again at its address, with nothing on disk, knows
// everybody a moment after the others have noticed.
func TestServerThatIsBackIsToldByEverybody(t *testing.T) {
	for _, n := range []int{3, 30} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				server := w.open(Options{Member: edsMember()})
				addr := server.Self().Gossip
				var members []*Pool
				for range n {
					members = append(members, w.open(Options{Seeds: seedOf(server)}))
				}
				w.within(10*time.Second, "all know all", func() bool {
					for _, p := range members {
						if p.members.others() != n {
							return false
						}
					}
					return true
				})
				_ = server.Close()
				again := w.open(Options{Member: edsMember(), Bind: addr})
				for _, p := range members { // as the end of its connection shows at once
					p.members.lose(lostServer{server.id, addr})
				}
				took := w.within(3*time.Second, "the server knows all", func() bool {
					for _, p := range members {
						if m, ok := again.members.find(p.id); !ok || m.Liveness != fleet.Alive {
							return false
						}
					}
					return true
				})
				t.Logf("after %s", took)
			})
		})
	}
}

// Members that know no other have only themselves to report.
func TestServerJoinsEveryMemberThatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		server := w.open(Options{Member: edsMember()})
		addr := server.Self().Gossip
		for range 20 {
			w.open(Options{}).members.lose(lostServer{uuid.New(), addr})
		}
		w.within(5*time.Second, "the server knows all", func() bool { return server.members.others() == 20 })
	})
}

func TestLostServerIsToldUntilItIsBackAndNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		early, late := w.open(Options{}), w.open(Options{})
		addr := w.addr()
		early.members.lose(lostServer{uuid.New(), addr})
		time.Sleep(hereFor - 3*time.Second)
		server := w.open(Options{Member: edsMember(), Bind: addr})
		w.within(3*time.Second, "it is told once it is back", func() bool { return server.members.others() == 1 })
		gone := w.addr()
		late.members.lose(lostServer{uuid.New(), gone})
		time.Sleep(hereFor + time.Second)
		other := w.open(Options{Member: edsMember(), Bind: gone})
		time.Sleep(time.Minute)
		if other.members.others() != 0 {
			t.Error("a server that was away for longer was still told")
		}
	})
}

func TestNobodyJoinsForAMessageThatItMustNotBelieve(t *testing.T) {
	body := func(addr string) []byte {
		b, err := netip.MustParseAddrPort(addr).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		server := w.open(Options{Member: edsMember(), Bounds: Bounds{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}})
		upstream := w.open(Options{Seeds: seedOf(server)})
		w.within(time.Second, "both are there", func() bool { return server.members.others() == 1 })
		queued := func(p *Pool, id uuid.UUID, b []byte) int {
			_ = p.called(message.Message{Kind: message.Here, Member: id, Sender: id, Body: b})
			return len(p.callers)
		}
		for what, n := range map[string]int{
			"an upstream is told":            queued(upstream, uuid.New(), body("10.0.0.9:1")),
			"the member is known":            queued(server, upstream.id, body("10.0.0.9:1")),
			"the network is not allowed":     queued(server, uuid.New(), body("10.1.0.9:1")),
			"the address is none":            queued(server, uuid.New(), []byte("nonsense")),
			"the address is every interface": queued(server, uuid.New(), body("0.0.0.0:1")),
		} {
			if n != 0 {
				t.Errorf("%s: an address waits to be joined", what)
			}
		}
		for i := range 10 * callers { // a flood; no member is at any of them
			_ = server.called(message.Message{Kind: message.Here, Member: uuid.New(), Sender: uuid.New(), Body: body(fmt.Sprintf("10.0.%d.%d:1", 1+i/200, 1+i%200))})
		}
		if n := len(server.callers); n > callers {
			t.Errorf("%d addresses wait", n)
		}
	})
}
