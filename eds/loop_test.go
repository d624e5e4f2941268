package eds

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/decide"
	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/override/share"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

const service = "myservice"

// world is a fleet in virtual time: real gossip on a network in memory, and the
// registry's goroutine on top of it.
type world struct {
	published func(*registry.Snapshot) // called with each Snapshot of a server
	t         *testing.T
	net       *memnet.Network
	endpoints *endpoints
	last      uint16
	trust     Trust
}

// play runs f in a bubble of virtual time with a world of its own.
func play(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	// The race detector of Go 1.26 crashes in bubbles with many timers on several CPUs.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, published: func(*registry.Snapshot) {}, net: memnet.New(1), endpoints: newEndpoints()}
		t.Cleanup(func() { time.Sleep(time.Minute) }) // memberlist's last probes end
		f(t, w)
	})
}

func (w *world) addr() netip.AddrPort {
	w.last++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(w.last >> 8), byte(w.last)}), gossip.DefaultPort)
}

func (w *world) join(m fleet.Member, opts gossip.Options) *gossip.Pool {
	w.t.Helper()
	if !opts.Bind.IsValid() {
		opts.Bind = w.addr()
	}
	if opts.Transport == nil {
		opts.Transport = w.net.Transport(opts.Bind)
	}
	opts.Member, opts.Logger = m, slog.New(slog.DiscardHandler)
	p, err := gossip.Start(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.Close() })
	return p
}

// upstream starts a member that serves.
func (w *world) upstream(seed *gossip.Pool) *gossip.Pool {
	bind := w.addr()
	return w.join(w.serving(bind), gossip.Options{Bind: bind, Seeds: []string{seed.Self().Gossip.String()}})
}

// kill is kill -9 of an upstream.
func (w *world) kill(p *gossip.Pool) {
	addr := p.Self().Gossip.Addr()
	w.net.Cut(p.Self().Gossip)
	w.endpoints.set(func() { delete(w.endpoints.ids, addr) })
	_ = p.Close()
}

// server is an EDS server as far as virtual time reaches: pool and registry.
type node struct {
	*decide.Loop
	pool *gossip.Pool
	stop func()

	mu       sync.Mutex
	snapshot []*registry.Snapshot // every one that was published
}

func (w *world) eds(opts gossip.Options, db *bbolt.DB) *node {
	w.t.Helper()
	overrides, err := override.NewStore(db, override.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	self := fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion}
	mem := follow.NewMemory(db, self.ID, func(string) {}, slog.New(slog.DiscardHandler))
	remembered, err := mem.Recall()
	if err != nil {
		w.t.Fatal(err)
	}
	opts.Remembered = addresses(remembered)
	s := &node{}
	sharer := share.New(share.Options{
		Self: self.ID, Store: overrides, Logger: slog.New(slog.DiscardHandler),
		Send: func(to *fleet.Member, b []byte) error { return s.pool.Share(to, b) },
	})
	opts.Shared = sharer.Receive
	s.pool = w.join(self, opts)
	endings := follow.NewEndings(overrides, slog.New(slog.DiscardHandler))
	prober := probe.New(probe.Options{
		Dial: w.endpoints.dial, Ping: func(ctx context.Context, t probe.Target) bool { return s.pool.Ping(ctx, t.ID, t.Gossip) },
	})
	admission, err := admit.NewAdmission(admit.AdmissionOptions{
		Options:     admit.Options{Fleet: cmp.Or(opts.Fleet, gossip.DefaultFleet), Allow: w.trust.AllowAddresses, Local: true, MaxServices: w.trust.MaxServices, MaxEndpoints: w.trust.MaxEndpoints},
		ServiceKeys: w.trust.ServiceKeys, Ask: s.pool.Vouch, Known: remembered, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Loop = decide.New(decide.Options{
		Pool: s.pool, Overrides: overrides, Behind: sharer.Behind, Prober: prober, Admission: admission, Logger: slog.New(slog.DiscardHandler),
		Registry: registry.Options{Guard: registry.DefaultGuard, GuardHold: registry.DefaultGuardHold, Round: registry.DefaultRound},
		Seeds:    len(opts.Seeds) > 0, Remembered: remembered,
		Store:   mem.Update,
		Publish: []func(*registry.Snapshot){s.record, w.published, endings.Update, func(snap *registry.Snapshot) { sharer.Members(snap.Members) }},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() { mem.Run(ctx) })
	wg.Go(func() { overrides.Run(ctx) })
	wg.Go(func() { sharer.Run(ctx) })
	wg.Go(func() { endings.Run(ctx) })
	wg.Go(func() { admission.Run(ctx) })
	wg.Go(func() { prober.Run(ctx) })
	s.stop = func() {
		cancel()
		wg.Wait()
		_ = s.pool.Close()
	}
	w.t.Cleanup(s.stop)
	return s
}

func (s *node) record(snap *registry.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = append(s.snapshot, snap)
}

// forget resets what least looks at.
func (s *node) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = nil
}

// least is the smallest number of endpoints ever served.
func (s *node) least() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := served(s.Snapshot())
	for _, snap := range s.snapshot {
		least = min(least, served(snap))
	}
	return least
}

// alive counts the members that gossip sees alive, the server itself too.
func alive(snap *registry.Snapshot) int {
	n := 0
	for _, m := range snap.Members {
		if m.Liveness == fleet.Alive {
			n++
		}
	}
	return n
}

// served counts the endpoints of the service.
func served(snap *registry.Snapshot) int {
	svc, _ := snap.Find(service)
	return len(svc.Served())
}

// within waits in virtual time.
func (w *world) within(limit time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for start := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > limit {
			w.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func openTestDB(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "test.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestFiftyUpstreamsJoinAndLeave(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		if !s.Snapshot().Settled {
			synctest.Wait()
		}
		var fleet []*gossip.Pool
		for range 50 {
			fleet = append(fleet, w.upstream(s.pool))
		}
		w.within(10*time.Second, "all 50 are served", func() bool { return served(s.Snapshot()) == 50 })
		for _, p := range fleet[:20] {
			w.kill(p)
		}
		w.within(100*time.Millisecond, "30 are served after 20 were killed", func() bool { return served(s.Snapshot()) == 30 })
		if err := fleet[20].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.within(time.Second, "29 are served after one left", func() bool { return served(s.Snapshot()) == 29 })
		for range 5 {
			w.upstream(fleet[30])
		}
		w.within(5*time.Second, "34 are served after 5 came", func() bool { return served(s.Snapshot()) == 34 })
	})
}

// A partitioned server hears of no member, and that proves nothing.
func TestPartitionedServerKeepsAllEndpoints(t *testing.T) {
	for _, long := range []time.Duration{2 * time.Second, time.Minute, 11 * time.Minute} {
		t.Run(long.String(), func(t *testing.T) {
			db := openTestDB(t)
			play(t, func(t *testing.T, w *world) {
				s := w.eds(gossip.Options{}, db)
				for range 10 {
					w.upstream(s.pool)
				}
				w.within(10*time.Second, "all 10 are served", func() bool { return served(s.Snapshot()) == 10 })
				s.forget()
				w.net.Cut(s.pool.Self().Gossip)
				w.endpoints.set(func() { w.endpoints.deaf = true })
				time.Sleep(long)
				w.net.Heal(s.pool.Self().Gossip)
				w.endpoints.set(func() { w.endpoints.deaf = false })
				w.within(15*time.Second, "gossip sees all 10 again", func() bool { return alive(s.Snapshot()) == 11 })
				time.Sleep(10 * time.Second)
				if least := s.least(); least < 10 {
					t.Errorf("only %d of 10 were served at some time", least)
				}
			})
		})
	}
}

func TestSilentEndpointIsRemovedAndReturns(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		var silent *gossip.Pool
		for range 10 {
			silent = w.upstream(s.pool)
		}
		w.within(10*time.Second, "all 10 are served", func() bool { return served(s.Snapshot()) == 10 })
		at := silent.Self().Gossip
		w.net.Cut(at)
		w.endpoints.set(func() { w.endpoints.silent[at.Addr()] = true })
		w.within(4*time.Second, "9 are served", func() bool { return served(s.Snapshot()) == 9 })
		time.Sleep(5 * time.Minute) // gossip has given it up long since
		w.net.Heal(at)
		w.endpoints.set(func() { delete(w.endpoints.silent, at.Addr()) })
		w.within(2*time.Second, "all 10 are served again", func() bool { return served(s.Snapshot()) == 10 })
	})
}

func TestMajorityThatFallsSilentIsHeld(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		var fleet []*gossip.Pool
		for range 10 {
			fleet = append(fleet, w.upstream(s.pool))
		}
		w.within(10*time.Second, "all 10 are served", func() bool { return served(s.Snapshot()) == 10 })
		s.forget()
		quiet := func(silent bool) {
			for _, p := range fleet[:6] {
				at := p.Self().Gossip
				if silent {
					w.net.Cut(at)
				} else {
					w.net.Heal(at)
				}
				w.endpoints.set(func() { w.endpoints.silent[at.Addr()] = silent })
			}
		}
		quiet(true)
		time.Sleep(time.Minute)
		if svc, _ := s.Snapshot().Find(service); svc.Guard == nil || svc.Guard.Held != 6 {
			t.Errorf("the guard holds %+v, want 6 hosts", svc.Guard)
		}
		quiet(false)
		w.within(3*time.Second, "the guard lets go", func() bool { svc, _ := s.Snapshot().Find(service); return svc.Guard == nil })
		if least := s.least(); least < 10 {
			t.Errorf("only %d of 10 were served at some time", least)
		}
	})
}

func TestRestartedServerServesNothingShorterThanTheTruth(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		first := w.eds(gossip.Options{}, db)
		for range 10 {
			w.upstream(first.pool)
		}
		w.within(10*time.Second, "all 10 are served", func() bool { return served(first.Snapshot()) == 10 })
		time.Sleep(2 * time.Second) // they are remembered
		bind := first.pool.Self().Gossip
		first.stop()
		time.Sleep(time.Second)

		second := w.eds(gossip.Options{Bind: bind}, db)
		w.within(11*time.Second, "it settles", func() bool { return second.Snapshot().Settled })
		second.mu.Lock()
		defer second.mu.Unlock()
		for _, snap := range second.snapshot {
			if snap.Settled && served(snap) < 10 {
				t.Errorf("a settled snapshot has %d of 10 endpoints", served(snap))
			}
		}
	})
}

func TestRestartedPartitionedServerServesNothing(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		first := w.eds(gossip.Options{}, db)
		for range 10 {
			w.upstream(first.pool)
		}
		w.within(10*time.Second, "all 10 are served", func() bool { return served(first.Snapshot()) == 10 })
		time.Sleep(2 * time.Second) // they are remembered
		first.stop()
		bind := w.addr()
		w.net.Cut(bind)
		w.endpoints.set(func() { w.endpoints.deaf = true })
		second := w.eds(gossip.Options{Bind: bind}, db)
		time.Sleep(65 * time.Minute) // longer than members from before a restart are waited for
		if second.Snapshot().Settled {
			t.Error("it speaks of a fleet that it does not hear")
		}
		w.net.Heal(bind)
		w.endpoints.set(func() { w.endpoints.deaf = false })
		w.within(20*time.Second, "all 10 are served", func() bool { return second.Snapshot().Settled && served(second.Snapshot()) == 10 })
	})
}

func TestWriteIsVisibleAfterWait(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, db)
		_, revision, err := s.Overrides.Edit(override.Edit{Key: override.Key{Service: service}, Change: func(o override.Override, _ bool) (override.Override, error) {
			o.Mode = override.Merge
			o.Hosts = []override.Host{{Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:18080"), Weight: 1, Health: fleet.Healthy}}}
			return o, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
		if n := served(s.Snapshot()); n != 1 {
			t.Errorf("%d endpoints, want the manual one", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx, revision+1); err == nil {
			t.Error("a revision that never comes was there")
		}
	})
}
