package gossip

import (
	"net/netip"
	"time"
)

const (
	// restMost is the longest that a seed behind another address is left alone.
	restMost = 5 * time.Minute
	// restless is for how long no seed rests after this process has met the pool, or has
	// lost a member: behind one address there may be two parts of a pool.
	restless = time.Minute
)

// rests are the seeds that let this process in but that no member gossips at: behind
// them is a virtual address, or address translation. To join through one again costs
// an exchange of all members, and brings nothing as long as none is lost.
type rests map[netip.AddrPort]rest

type rest struct {
	next time.Time // when it is tried again
	wait time.Duration
}

// due reports whether addr is to be tried now.
func (r rests) due(addr netip.AddrPort, now, unsettled time.Time) bool {
	if now.Sub(unsettled) < restless {
		clear(r)
	}
	return !now.Before(r[addr].next)
}

// joined notes that addr let this process in, and that no member gossips there.
func (r rests) joined(addr netip.AddrPort, now time.Time) {
	wait := min(max(2*r[addr].wait, 2*rejoinEvery), restMost)
	r[addr] = rest{next: now.Add(wait), wait: wait}
}
