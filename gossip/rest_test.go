package gossip

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// virtualAddress has streams to an address at which no member gossips end at a member.
type virtualAddress struct {
	memberlist.Transport
	addr   string
	behind netip.AddrPort
	joins  *atomic.Int32
}

func (v virtualAddress) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if addr == v.addr {
		v.joins.Add(1)
		addr = v.behind.String()
	}
	return v.Transport.DialTimeout(addr, timeout)
}

func TestSeedBehindAVirtualAddressIsLeftAloneOnceThePoolIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 23)
		server := w.open(Options{})
		lost := w.open(Options{Seeds: seedOf(server)})
		var joins atomic.Int32
		bind := w.addr()
		behind := virtualAddress{w.net.Transport(bind), "10.9.9.9:7946", server.Self().Gossip, &joins}
		p := open(t, Options{Bind: bind, Seeds: []string{behind.addr}, Transport: behind, Logger: w.book.logger()})
		w.pools = append(w.pools, p)
		w.within(10*time.Second, "the pool is met", all([]*Pool{server, lost, p}, fleet.Alive, 3))
		joinsIn := func(d time.Duration) int32 {
			before := joins.Load()
			time.Sleep(d)
			return joins.Load() - before
		}
		if n := joinsIn(time.Minute); n < 6 {
			t.Errorf("%d exchanges in the first minute, want one in 7.5 s: there may be two parts of a pool behind the address", n)
		}
		settling := joinsIn(10 * time.Minute)
		hour := joinsIn(time.Hour)
		t.Logf("%d exchanges in the 10 minutes after the first one, then %d an hour", settling, hour)
		if settling > 8 || hour > 13 || hour < 10 {
			t.Errorf("%d exchanges in 10 minutes and %d in an hour, want at most 8 and 10 to 13", settling, hour)
		}
		_ = lost.Close()
		w.within(30*time.Second, "a member is lost", all([]*Pool{p}, fleet.Dead, 1))
		if n := joinsIn(time.Minute); n < 6 {
			t.Errorf("%d exchanges in the minute after a loss, want one in 7.5 s", n)
		}
	})
}
