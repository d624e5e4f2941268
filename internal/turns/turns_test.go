package turns

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var addr = netip.MustParseAddrPort("10.0.0.1:8080")

// However many there are, the program sees one check in each interval, or in the next
// power of two of it that leaves room for its answer.
func TestTurnsAreAnIntervalApart(t *testing.T) {
	for _, tt := range []struct{ interval, took, apart time.Duration }{
		{time.Second, 0, time.Second}, {time.Second, 900 * time.Millisecond, time.Second},
		{time.Second, 1100 * time.Millisecond, 2 * time.Second}, {time.Second, 2100 * time.Millisecond, 4 * time.Second},
		{4 * time.Second, 5 * time.Second, 8 * time.Second},
	} {
		for _, shares := range []int{1, 2, 3, 7} {
			start := time.Unix(1_000_000, 123)
			first := start.Add(2 * tt.apart * time.Duration(shares)) // by then all have begun
			last := first.Add(10 * tt.apart * time.Duration(shares))
			var all []time.Time
			for share := range shares {
				for at := start; at.Before(last); at = (Turn{share, shares}).Next(at.Add(tt.took), addr, tt.interval, tt.took) {
					if !at.Before(first) {
						all = append(all, at)
					}
				}
			}
			slices.SortFunc(all, time.Time.Compare)
			if len(all) != 10*shares {
				t.Errorf("%+v, %d: %d turns", tt, shares, len(all))
			}
			for i := 1; i < len(all); i++ {
				if d := all[i].Sub(all[i-1]); d != tt.apart {
					t.Fatalf("%+v, %d: %s between two turns", tt, shares, d)
				}
			}
		}
	}
}

// A program that serves one request at a time has answered the others by then.
func TestOtherPartiesHaveTheirTurnsFirst(t *testing.T) {
	now := time.Unix(1_000_000, 123)
	for share := range 4 {
		if at := (Turn{share, 4}).Next(now, addr, time.Second, 3*time.Second); at.Sub(now) < 9*time.Second {
			t.Errorf("share %d has its turn after %s", share, at.Sub(now))
		}
	}
	if at := (Turn{}).Next(now, addr, time.Second, 0); at.Sub(now) > time.Second {
		t.Errorf("who checks alone has its turn after %s", at.Sub(now))
	}
}
