package gossip

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// traffic is what all members send, without the headers of UDP, TCP and IP.
type traffic struct{ packets, streams, bytes atomic.Int64 }

// metered is a transport whose traffic is counted, that of its streams at the end
// that dialled.
type metered struct {
	memberlist.Transport
	*traffic
}

func (m metered) WriteTo(b []byte, addr string) (time.Time, error) {
	m.packets.Add(1)
	m.bytes.Add(int64(len(b)))
	return m.Transport.WriteTo(b, addr)
}

func (m metered) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := m.Transport.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	m.streams.Add(1)
	return meteredConn{conn, m.traffic}, nil
}

type meteredConn struct {
	net.Conn
	*traffic
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// TestWhatAProfileCosts prints the figures of the profiles and holds them to about
// twice what they were. Larger pools are measured by `make bench-gossip`.
func TestWhatAProfileCosts(t *testing.T) {
	const quiet = 30 * time.Second // two push/pulls at least
	for _, c := range []struct {
		profile        Profile
		members        int
		packets, bytes float64       // a member sends in a second, at most
		crash          time.Duration // median until a member sees it, at most
	}{
		{LAN, 3, 10, 1000, 5 * time.Second},
		{LAN, 10, 10, 2000, 6 * time.Second},
		{LAN, 20, 10, 5000, 8 * time.Second},
		{WAN, 3, 10, 1000, 20 * time.Second},
		{WAN, 10, 10, 2000, 30 * time.Second},
		{WAN, 20, 10, 5000, 40 * time.Second},
		{Fast, 3, 20, 1000, 5 * time.Second},
		{Fast, 10, 20, 2000, 5 * time.Second},
		{Fast, 20, 20, 5000, 5 * time.Second},
	} {
		t.Run(fmt.Sprintf("%s/%d", c.profile, c.members), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 40)
				w.meter = new(traffic)
				pools := w.pool(c.profile, c.members, []int{0})
				w.within(time.Minute, "all see each other", all(pools, fleet.Alive, c.members))
				time.Sleep(10 * time.Second) // the news has spread
				before := [...]int64{w.meter.packets.Load(), w.meter.streams.Load(), w.meter.bytes.Load()}
				time.Sleep(quiet)
				rate := func(now *atomic.Int64, before int64) float64 {
					return float64(now.Load()-before) / quiet.Seconds() / float64(c.members)
				}
				packets, streams, bytes := rate(&w.meter.packets, before[0]), rate(&w.meter.streams, before[1]), rate(&w.meter.bytes, before[2])
				crash := w.crash(c.profile, pools)
				t.Logf("%-4s %3d members: %5.1f packets/s, %4.2f streams/s, %6.0f bytes/s; crash seen after %s", c.profile, c.members, packets, streams, bytes, crash)
				if packets > c.packets || bytes > c.bytes || crash > c.crash {
					t.Errorf("more than %.0f packets/s, %.0f bytes/s, %s", c.packets, c.bytes, c.crash)
				}
			})
		})
	}
}

// crashes is how many of them the median is of.
const crashes = 7

// crash is the median time until the first of pools sees one of the others dead.
func (w *world) crash(profile Profile, pools []*Pool) time.Duration {
	var took []time.Duration
	for i := range crashes {
		time.Sleep(time.Duration(i) * 37 * time.Millisecond)
		victim := 1 + i%(len(pools)-1)
		id := pools[victim].id
		_ = pools[victim].Close()
		took = append(took, w.within(2*time.Minute, "it is seen dead", func() bool {
			m, _ := find(pools[0], id)
			return m.Liveness == fleet.Dead
		}))
		pools[victim] = w.open(Options{Profile: profile, Seeds: seedOf(pools[0])})
		w.within(time.Minute, "all see each other", all(pools, fleet.Alive, len(pools)))
		time.Sleep(3 * time.Second)
	}
	slices.Sort(took)
	return took[len(took)/2]
}
