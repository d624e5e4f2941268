package budget

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func party(n byte) netip.Addr {
	return fleet.Party(netip.AddrFrom4([4]byte{10, 0, 0, n}))
}

// taker asks a budget from goroutines, and notes who was given something.
type taker struct {
	*Budget
	t  *testing.T
	wg sync.WaitGroup

	mu    sync.Mutex
	given []string
	errs  []error
}

func (tk *taker) wants(who netip.Addr, n int64) {
	tk.wg.Go(func() {
		err := tk.Take(tk.t.Context(), who, n)
		tk.mu.Lock()
		defer tk.mu.Unlock()
		if err != nil {
			tk.errs = append(tk.errs, err)
		} else {
			tk.given = append(tk.given, fmt.Sprint(who.As4()[3], ":", n))
		}
	})
	synctest.Wait()
}

func (tk *taker) want(why string, given ...string) {
	tk.t.Helper()
	synctest.Wait()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	if !slices.Equal(tk.given, given) {
		tk.t.Errorf("%s: given to %v, want %v", why, tk.given, given)
	}
	tk.given = nil
}

func withBudget(t *testing.T, total int64, waiting, each int, story func(*taker)) {
	synctest.Test(t, func(t *testing.T) {
		tk := &taker{Budget: New(Options{total, waiting, each, 10 * time.Second}), t: t}
		story(tk)
		tk.wg.Wait()
	})
}

func TestOneAddressHasAQuarterAndTheOthersTheRest(t *testing.T) {
	withBudget(t, 100, 100, 100, func(b *taker) {
		for range 5 {
			b.wants(party(1), 10)
		}
		b.want("a quarter", "1:10", "1:10")
		b.wants(party(2), 60)
		b.want("its first share may be larger", "2:60")
		b.wants(party(3), 10)
		b.want("what one address waits for holds up no other", "3:10")
		b.Give(party(1), 10)
		b.want("what it gives back it may have again", "1:10")
		b.Give(party(2), 60)
		b.want("it keeps to its quarter though there is more")
		b.wants(netip.MustParseAddr("127.0.0.1"), 40)
		b.wants(netip.MustParseAddr("127.0.0.1"), 30)
		b.want("this machine's own is not limited by address", "1:40", "1:30")
	})
}

func TestAddressesTakeTurns(t *testing.T) {
	withBudget(t, 40, 100, 100, func(b *taker) {
		b.wants(party(9), 40)
		b.want("all", "9:40")
		for _, who := range []byte{1, 1, 1, 2, 3} {
			b.wants(party(who), 5)
		}
		b.want("nothing is left")
		for range 5 {
			b.Give(party(9), 5)
			synctest.Wait()
		}
		b.Give(party(1), 5)
		b.want("each address once, then again", "1:5", "2:5", "3:5", "1:5", "1:5")
	})
}

func TestSmallSharesDoNotStarveALargeOne(t *testing.T) {
	withBudget(t, 40, 100, 100, func(b *taker) {
		b.wants(party(1), 10)
		b.wants(party(2), 10)
		b.wants(party(3), 30)
		b.wants(party(4), 1)
		b.want("the large one is next", "1:10", "2:10")
		b.Give(party(1), 10)
		b.want("the large one has enough", "3:30")
		b.Give(party(2), 10)
		b.want("then the small one", "4:1")
	})
}

func TestEveryWaitEnds(t *testing.T) {
	withBudget(t, 10, 2, 2, func(b *taker) {
		b.wants(party(1), 10)
		b.want("all", "1:10")
		b.wants(party(2), 11)
		b.wants(party(2), 1)
		b.wants(party(3), 1)
		b.wants(party(4), 1)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for i, want := range []error{ErrTooLarge, ErrFull, ErrOverdue, ErrOverdue} {
			if len(b.errs) != 4 || !errors.Is(b.errs[i], want) {
				t.Fatalf("refused with %v", b.errs)
			}
		}
		b.Give(party(1), 10)
		if b.used != 0 || b.queued != 0 || len(b.by)+len(b.queues)+len(b.order) != 0 {
			t.Errorf("something is left: %+v", b.Budget)
		}
	})
}

func TestOneAddressLeavesOthersPlacesToWait(t *testing.T) {
	withBudget(t, 10, 100, 2, func(b *taker) {
		b.wants(party(9), 10)
		b.want("all", "9:10")
		for range 4 {
			b.wants(party(1), 1)
		}
		if len(b.errs) != 2 || !errors.Is(b.errs[0], ErrFull) {
			t.Fatalf("refused with %v", b.errs)
		}
		b.wants(party(2), 1)
		for range 4 {
			b.wants(netip.MustParseAddr("127.0.0.1"), 1)
		}
		for range 7 {
			b.Give(party(9), 1)
			synctest.Wait()
		}
		b.want("those who waited, in turns", "1:1", "2:1", "1:1", "1:1", "1:1", "1:1", "1:1") // two of them of party 1, the rest of loopback
		b.Give(party(9), 3)
	})
}
