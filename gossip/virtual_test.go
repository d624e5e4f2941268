package gossip

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// world is a pool in virtual time on a network in memory.
type world struct {
	t     *testing.T
	net   *memnet.Network
	book  *book
	pools []*Pool // every one ever started
	last  int     // for addresses
	meter *traffic
}

func newWorld(t *testing.T, seed uint64) *world {
	// With several processors the race detector of Go 1.26 crashes now and then
	// where a bubble has many timers; with one it finds the same races.
	procs := runtime.GOMAXPROCS(1)
	w := &world{t: t, net: memnet.New(seed), book: newBook(slog.LevelInfo)}
	t.Cleanup(func() {
		for _, p := range w.pools {
			_ = p.Close()
		}
		time.Sleep(time.Minute) // memberlist's probes that are under way end
		runtime.GOMAXPROCS(procs)
	})
	return w
}

func (w *world) addr() netip.AddrPort {
	w.last++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(w.last >> 8), byte(w.last)}), DefaultPort)
}

// open starts a member at an address of its own.
func (w *world) open(opts Options) *Pool {
	if !opts.Bind.IsValid() {
		opts.Bind = w.addr()
	}
	opts.Transport, opts.Logger = w.net.Transport(opts.Bind), w.book.logger()
	if w.meter != nil {
		opts.Transport = metered{opts.Transport, w.meter}
	}
	p := open(w.t, opts)
	w.pools = append(w.pools, p)
	return p
}

// fleet starts n members, of which all others have the first for a seed.
func (w *world) fleet(n int) []*Pool {
	pools := []*Pool{w.open(Options{})}
	for range n - 1 {
		pools = append(pools, w.open(Options{Seeds: seedOf(pools[0])}))
	}
	return pools
}

// within fails unless ok becomes true in virtual time, and returns when it did.
func (w *world) within(limit time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			w.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

// count returns how many members p lists in a state. Tests ask all pools again and
// again: to list the members for that would be most of what they cost.
func count(p *Pool, l fleet.Liveness) int {
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	n := 0
	for _, r := range p.members.byName {
		if r.Liveness == l && !r.hidden {
			n++
		}
	}
	return n
}

func all(pools []*Pool, l fleet.Liveness, n int) func() bool {
	return func() bool {
		return !slices.ContainsFunc(pools, func(p *Pool) bool { return count(p, l) != n })
	}
}

func addrs(pools []*Pool) []netip.AddrPort {
	var as []netip.AddrPort
	for _, p := range pools {
		as = append(as, p.Self().Gossip)
	}
	return as
}

func TestNineOfFiftyKilledAtOnceAreSeenDeadByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		pools := w.fleet(50)
		joined := w.within(30*time.Second, "all 50 see each other", all(pools, fleet.Alive, 50))
		for _, p := range pools[41:] {
			_ = p.Close()
		}
		dead := w.within(30*time.Second, "the 41 see 9 dead", all(pools[:41], fleet.Dead, 9))
		if !all(pools[:41], fleet.Alive, 41)() {
			t.Error("a survivor is not seen alive by all")
		}
		t.Logf("joined after %s, dead after %s of virtual time", joined, dead)
	})
}

func TestWhoLeavesALargePoolHasLeftForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		pools := w.fleet(40)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 40))
		for _, p := range pools[37:] {
			if err := p.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		}
		w.within(5*time.Second, "3 have left", all(pools[:37], fleet.Left, 3))
	})
}

func TestLeaveHurriesOnceItsContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		pools := w.fleet(3)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 3))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		_ = pools[2].Leave(ctx)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAPartitionHealsWithoutSeeds(t *testing.T) {
	for _, lasts := range []time.Duration{2 * time.Second, time.Minute, 10 * time.Minute} {
		t.Run(lasts.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4)
				pools := w.fleet(7)
				w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 7))
				lost := pools[4:] // the seed stays on the other side, but is not needed
				w.net.Cut(addrs(lost)...)
				time.Sleep(lasts)
				if lasts > 30*time.Second && !all(lost, fleet.Alive, len(lost))() {
					t.Error("the parts still see each other")
				}
				w.net.Heal(addrs(lost)...)
				took := w.within(15*time.Second, "all see each other again", all(pools, fleet.Alive, 7))
				t.Logf("healed after %s", took)
			})
		})
	}
}

func TestOneMemberCutOffWithoutSeedsComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		pools := w.fleet(5)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 5))
		w.net.Cut(addrs(pools[:1])...) // the seed itself: it knows no seeds
		w.within(time.Minute, "it is alone", all(pools[:1], fleet.Alive, 1))
		w.net.Heal(addrs(pools[:1])...)
		w.within(15*time.Second, "all see each other again", all(pools, fleet.Alive, 5))
	})
}

func TestSurvivorsAgreeAfterAnyHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 13)
		rnd := rand.New(rand.NewPCG(13, 13))
		live := w.fleet(3)
		for range 200 {
			time.Sleep(rand.N(2 * time.Second))
			i := rnd.IntN(len(live))
			switch n := rnd.IntN(4); {
			case len(live) < 3 || (n < 2 && len(live) < 15):
				opts := Options{Seeds: seedOf(live[i])}
				if rnd.IntN(4) == 0 {
					opts.Bind = w.free(live)
				}
				live = append(live, w.open(opts))
				continue
			case n == 2:
				_ = live[i].Close()
			default:
				_ = live[i].Leave(t.Context())
			}
			live = slices.Delete(live, i, i+1)
		}
		var want []uuid.UUID
		for _, p := range live {
			want = append(want, p.id)
		}
		slices.SortFunc(want, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		w.within(time.Minute, "all survivors see the survivors, and nobody else", func() bool {
			return !slices.ContainsFunc(live, func(p *Pool) bool { return !slices.Equal(aliveIDs(p), want) })
		})
	})
}

// free returns the address of a member that is gone, else a new one.
func (w *world) free(live []*Pool) netip.AddrPort {
	taken := addrs(live)
	for _, p := range w.pools {
		if a := p.Self().Gossip; !slices.Contains(taken, a) {
			return a
		}
	}
	return w.addr()
}

func aliveIDs(p *Pool) []uuid.UUID {
	var ids []uuid.UUID
	for _, m := range p.Members() {
		if m.Liveness == fleet.Alive {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func TestRememberedMembersAreASeedUntilSomebodyWasMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		a := w.open(Options{})
		nobody := w.addr()
		p := w.open(Options{Remembered: []netip.AddrPort{nobody, a.Self().Gossip}})
		w.within(time.Second, "it is back in the pool", all([]*Pool{a, p}, fleet.Alive, 2))
		<-p.Joined()
		late := w.open(Options{Bind: nobody})
		time.Sleep(10 * time.Minute)
		if count(late, fleet.Alive) != 1 {
			t.Error("a remembered address is tried although the pool was joined")
		}
	})
}

func TestHostNamesAreLookedUpAtEachRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		a, b := w.open(Options{}), w.open(Options{})
		var answer atomic.Pointer[[]netip.Addr]
		var lookups atomic.Int64
		lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
			lookups.Add(1)
			if ips := answer.Load(); ips != nil && host == "seeds.example" {
				return *ips, nil
			}
			return nil, errors.New("lookup seeds.example: no such host")
		}
		bind := w.addr()
		p, err := start(Options{Member: upstreamMember(), Bind: bind, Seeds: []string{"seeds.example"}, Transport: w.net.Transport(bind), Logger: w.book.logger()}, lookup)
		if err != nil {
			t.Fatal(err)
		}
		w.pools = append(w.pools, p)
		time.Sleep(time.Minute)
		if n := len(w.book.grep("level=WARN", "cannot be resolved", "no such host")); n != 1 || lookups.Load() < 5 {
			t.Errorf("warned %d times in %d rounds, want once", n, lookups.Load())
		}
		answer.Store(&[]netip.Addr{a.Self().Gossip.Addr(), netip.AddrFrom16(b.Self().Gossip.Addr().As16())})
		w.within(10*time.Second, "both addresses were joined", all([]*Pool{a, b, p}, fleet.Alive, 3))
	})
}

func TestASeedThatIsThisProcessIsNoMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9)
		bind := w.addr()
		p := w.open(Options{Bind: bind, Seeds: []string{bind.String()}})
		time.Sleep(time.Minute)
		select {
		case <-p.Joined():
			t.Error("it joined itself")
		default:
		}
	})
}

func TestGoneMembersAreListedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10)
		pools := w.fleet(3)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 3))
		_ = pools[1].Close()
		_ = pools[2].Leave(t.Context())
		w.within(30*time.Second, "one is dead", all(pools[:1], fleet.Dead, 1))
		time.Sleep(59 * time.Minute)
		if count(pools[0], fleet.Left) != 1 || count(pools[0], fleet.Dead) != 1 {
			t.Fatalf("after 59 minutes it lists %+v", pools[0].Members())
		}
		<-pools[0].Changed()
		time.Sleep(2 * time.Minute)
		if n := len(pools[0].Members()); n != 1 {
			t.Errorf("after an hour it lists %d members, want itself alone", n)
		}
		select {
		case <-pools[0].Changed():
		default:
			t.Error("nobody was told that the list got shorter")
		}
	})
}

func TestSinceIsWhenTheWordLastChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 11)
		pools := w.fleet(2)
		w.within(10*time.Second, "both see each other", all(pools, fleet.Alive, 2))
		first, _ := find(pools[0], pools[1].id)
		time.Sleep(5 * time.Minute)
		if m, _ := find(pools[0], pools[1].id); !m.Since.Equal(first.Since) {
			t.Errorf("nothing changed, but since went from %s to %s", first.Since, m.Since)
		}
		if _, err := pools[1].Announce(change(pools[1].Self())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(announceWait)
		if m, _ := find(pools[0], pools[1].id); time.Since(m.Since) > announceWait {
			t.Errorf("since is %s after a change at %s", m.Since, time.Now())
		}
	})
}

func TestNothingIsReportedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12)
		pools := w.fleet(3)
		w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, 3))
		_ = pools[2].Close()
		time.Sleep(700 * time.Millisecond) // the death is suspected, the timer runs
		_ = pools[0].Close()
		before := pools[0].Members()
		select {
		case <-pools[0].Changed():
		default:
		}
		time.Sleep(time.Minute)
		select {
		case <-pools[0].Changed():
			t.Errorf("a closed pool went from %+v to %+v", before, pools[0].Members())
		default:
		}
	})
}
