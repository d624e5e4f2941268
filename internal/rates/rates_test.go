package rates

import (
	"net/netip"
	"testing"
	"time"
)

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestTableIsBoundedAndForgetsIdlePartiesOnly(t *testing.T) {
	table, now := New(1, 2), time.Now()
	for i := range 3 * MaxParties {
		table.Allow(addr(i), now)
	}
	if table.Len() != MaxParties {
		t.Errorf("%d parties are kept, want %d", table.Len(), MaxParties)
	}
	if ok, _ := table.Allow(addr(3*MaxParties), now); ok {
		t.Error("further parties do not share an allowance")
	}
	now = now.Add(10 * time.Second)
	if ok, _ := table.Allow(addr(3*MaxParties), now); !ok || table.Len() != 1 {
		t.Errorf("%d parties are kept after a rest", table.Len())
	}
}

// The table would be read from end to end for each event, with a lock held.
func TestFullTableIsReadOnceASecond(t *testing.T) {
	table, now := New(1, 2), time.Now()
	for i := range MaxParties {
		table.Allow(addr(i), now)
	}
	table.Allow(addr(MaxParties), now)
	table.by[addr(0)] = table.full()
	table.Allow(addr(MaxParties+1), now.Add(999*time.Millisecond))
	if _, kept := table.by[addr(0)]; !kept {
		t.Error("it was read again before a second was over")
	}
	if table.Allow(addr(MaxParties+1), now.Add(time.Second)); table.Len() != 1 {
		t.Errorf("a second later %d are left", table.Len())
	}
}

func TestZeroOrLessIsNoLimit(t *testing.T) {
	for _, perSecond := range []int{0, -1} {
		table := New(perSecond, 2*perSecond)
		for range 1000 {
			if ok, _ := table.Allow(addr(1), time.Now()); !ok {
				t.Fatalf("a rate of %d refuses", perSecond)
			}
		}
	}
}

func TestRefusalsAreCountedUntilSomethingIsAllowed(t *testing.T) {
	table, now := New(1, 1), time.Now()
	for i, want := range []struct {
		at      time.Duration
		ok      bool
		refused int
	}{{0, true, 0}, {0, false, 0}, {0, false, 0}, {time.Second, true, 2}, {2 * time.Second, true, 0}} {
		if ok, refused := table.Allow(addr(1), now.Add(want.at)); ok != want.ok || refused != want.refused {
			t.Errorf("event %d: %t, %d refused before, want %t, %d", i, ok, refused, want.ok, want.refused)
		}
	}
}
