package gossip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// openNamed starts a member whose seeds are looked up by lookup.
func (w *world) openNamed(lookup lookupFunc, seeds ...string) *Pool {
	w.t.Helper()
	bind := w.addr()
	p, err := start(Options{Member: upstreamMember(), Bind: bind, Seeds: seeds, Transport: w.net.Transport(bind), Logger: w.book.logger()}, lookup)
	if err != nil {
		w.t.Fatal(err)
	}
	w.pools = append(w.pools, p)
	return p
}

// Go's resolver asks the second nameserver after the first one was silent for 5 s.
func TestSlowLookupStillFindsTheSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 21)
		a := w.open(Options{})
		p := w.openNamed(func(ctx context.Context, _ string) ([]netip.Addr, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Second):
				return []netip.Addr{a.Self().Gossip.Addr()}, nil
			}
		}, "seeds.example")
		w.within(21*time.Second, "the seed is joined as soon as its address is known", all([]*Pool{a, p}, fleet.Alive, 2))
		if n := len(w.book.grep("level=WARN", "no nameserver has answered yet")); n != 1 {
			t.Errorf("%d warnings of a slow look-up, want 1", n)
		}
	})
}

func TestLookupThatHangsDelaysNoOtherSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 22)
		a, b := w.open(Options{}), w.open(Options{})
		var hanging, most atomic.Int32
		p := w.openNamed(func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "good.example" {
				return []netip.Addr{b.Self().Gossip.Addr()}, nil
			}
			most.Store(max(most.Load(), hanging.Add(1)))
			defer hanging.Add(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		}, "hanging.example", a.Self().Gossip.String(), "good.example")
		w.within(time.Second, "the other seeds are joined", all([]*Pool{a, b, p}, fleet.Alive, 3))
		w.within(35*time.Second, "the look-up ends", func() bool { return len(w.book.grep("level=WARN", "cannot be resolved")) > 0 })
		time.Sleep(3 * time.Minute)
		if most.Load() != 1 {
			t.Errorf("%d look-ups of one name at a time", most.Load())
		}
		start := time.Now()
		if err := p.Close(); err != nil || time.Since(start) > time.Second {
			t.Errorf("Close = %v after %s", err, time.Since(start))
		}
	})
}

// Some nameservers answer with a few of many addresses, picked at random.
func TestNameThatResolvesDifferentlyEachTimeIsLookedUpOnceARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 24)
		a, b := w.open(Options{}), w.open(Options{})
		var lookups atomic.Int64
		p := w.openNamed(func(context.Context, string) ([]netip.Addr, error) {
			time.Sleep(time.Millisecond)
			if lookups.Add(1)%2 == 0 {
				return []netip.Addr{a.Self().Gossip.Addr()}, nil
			}
			return []netip.Addr{b.Self().Gossip.Addr()}, nil
		}, "seeds.example")
		w.within(20*time.Second, "both are joined", all([]*Pool{a, b, p}, fleet.Alive, 3))
		before := lookups.Load()
		time.Sleep(time.Minute)
		if n := lookups.Load() - before; n < 6 || n > 12 {
			t.Errorf("%d look-ups in a minute, want one in 5 to 7.5 s", n)
		}
	})
}

func TestAddressesOutliveNameserversButNotNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addr := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		var err error
		n := newNames(func(context.Context, string) ([]netip.Addr, error) {
			if err != nil {
				return nil, err
			}
			return addr, nil
		})
		look := func(want error) (hostName, bool) {
			err = want
			n.start(t.Context(), "a")
			n.wg.Wait()
			select {
			case <-n.news:
				return n.known("a"), true
			default:
				return n.known("a"), false
			}
		}
		for _, step := range []struct {
			name  string
			err   error
			addrs int
			news  bool
		}{
			{"the first answer", nil, 1, true},
			{"the same again", nil, 1, false},
			{"a time-out", &net.DNSError{IsTimeout: true}, 1, true},
			{"another failure", errors.New("refused"), 1, false},
			{"the name is back", nil, 1, true},
			{"no such name", &net.DNSError{IsNotFound: true}, 0, true},
		} {
			got, news := look(step.err)
			if len(got.addrs) != step.addrs || news != step.news || !errors.Is(got.err, step.err) {
				t.Errorf("%s: %+v, news %t", step.name, got, news)
			}
		}
	})
}
