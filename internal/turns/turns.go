// Package turns has several processes check one program in turns, so that it sees one
// check in each interval however many they are. They agree by the wall clock alone.
package turns

import (
	"hash/fnv"
	"io"
	"net/netip"
	"time"
)

// Turn is one process's place among those that check a program. The zero value is the
// only one.
type Turn struct{ Share, Shares int }

// Next returns when this process's next turn is, now that it has an answer. The turns of
// the program at addr are an interval apart, or twice that, four times, and so on, where
// its answer took longer: checks that wait for each other would take all of its time. The
// others have their turns before this process has another.
func (t Turn) Next(now time.Time, addr netip.AddrPort, interval, took time.Duration) time.Time {
	for took > interval {
		interval *= 2
	}
	now = now.Add(took * time.Duration(max(t.Shares, 1)-1))
	period := interval * time.Duration(max(t.Shares, 1))
	place := spread(addr)%interval + time.Duration(t.Share)*interval
	wait := (place - time.Duration(now.UnixNano())%period + period) % period
	if wait == 0 {
		wait = period
	}
	return now.Add(wait)
}

// spread gives each address a place of its own, the same in every process.
func spread(addr netip.AddrPort) time.Duration {
	h := fnv.New64a()
	_, _ = io.WriteString(h, addr.String()) // it never fails
	return time.Duration(h.Sum64() >> 1)
}
