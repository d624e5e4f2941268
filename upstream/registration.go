package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/option"
)

// ErrClosed is returned by methods of a Registration after Close.
var ErrClosed = errors.New("registration is closed")

// leaveTimeout bounds leaving the pool, which takes one to two seconds.
const leaveTimeout = 10 * time.Second

// Registration is one listener's membership of the fleet. Its methods may be
// called from any goroutine. Those that announce a change check it first; an
// error means that nothing changed. EDS servers receive a change within milliseconds, the
// rest of the pool within about half a second.
type Registration struct {
	// Constant after Register.
	ln   net.Listener // nil: another process serves the endpoint
	opts options

	// member is announced in pool. Both are written only with announcing locked.
	member atomic.Pointer[fleet.Member]
	pool   atomic.Pointer[gossip.Pool]

	// announcing is locked during each change and its announcement, so that changes are
	// announced in the order in which they are made.
	announcing sync.Mutex
	unhealthy  bool
	draining   bool
	closed     bool

	ledger  *ledger
	since   time.Time // of registering
	serving sync.Once
	ready   chan struct{} // closed by serving

	complained time.Time // used by watch only

	closing sync.Once
	done    chan struct{} // closed when Close begins
	watcher sync.WaitGroup
	failed  chan error // capacity one; written by watch
	left    error      // the error of leaving the pool; read after closing
}

// Register joins the pool and announces that ln serves svc. It does not wait for
// the seeds and does not serve: call it when ln listens, and serve at once. Close does not
// close ln. ctx bounds only the call, not the life of the registration. After an error,
// nothing keeps running.
func Register(ctx context.Context, ln net.Listener, svc Service, opts ...Option) (*Registration, error) {
	r, err := register(ctx, ln.Addr(), svc, newOptions(opts))
	if err != nil {
		return nil, err
	}
	r.ln = ln
	return r, nil
}

func register(ctx context.Context, addr net.Addr, svc Service, opts options) (*Registration, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("register service %q: %w", svc.Name, err)
	}
	r, err := start(addr, svc, opts)
	if err != nil {
		return nil, fmt.Errorf("register service %q: %w", svc.Name, err)
	}
	if len(opts.seeds) == 0 {
		opts.log.Warn("no seed to join through: alone in the pool until another member joins", "gossip", r.Member().Gossip)
	}
	return r, nil
}

func start(addr net.Addr, svc Service, opts options) (*Registration, error) {
	began := time.Now()
	m, err := newMember(addr, svc, opts)
	if err != nil {
		return nil, err
	}
	if !opts.gossip.IsValid() {
		if opts.gossip, err = gossipBind(addr, m.Endpoint.Addr); err != nil {
			return nil, err
		}
	}
	pool, err := opts.join(&m, nil)
	if err != nil {
		return nil, err
	}
	r := &Registration{opts: opts, ledger: newLedger(), since: began, ready: make(chan struct{}), done: make(chan struct{}), failed: make(chan error, 1)}
	r.member.Store(&m)
	r.pool.Store(pool)
	r.watcher.Go(r.watch)
	return r, nil
}

// join starts a pool that announces m, and sets m.Gossip.
func (o *options) join(m *fleet.Member, remembered []netip.AddrPort) (*gossip.Pool, error) {
	pool, err := gossip.Start(gossip.Options{
		Member: *m, Fleet: o.fleet, Bind: o.gossip, Advertise: o.gossipAdvertise, Seeds: o.seeds,
		Remembered: remembered, Keys: o.keys, Profile: o.profile, Logger: o.log,
		KeyFile: o.trust.keyFile, SigningKey: o.trust.serviceKey, EDSKeys: o.trust.edsKeys, Bounds: o.trust.bounds,
	})
	if err != nil {
		return nil, option.Rename(err, map[string]string{"Bind": "option WithGossip", "Advertise": "option WithGossipAdvertise"})
	}
	m.Gossip = pool.Self().Gossip
	return pool, nil
}

// ID is the member's name in the pool, new for each registration. It changes when
// another member goes on taking this one for dead although it was announced anew,
// at most once in 30 seconds.
func (r *Registration) ID() uuid.UUID { return r.member.Load().ID }

// Member is what the pool is told of this upstream, as it is now. The caller must
// not write to its tags.
func (r *Registration) Member() fleet.Member { return *r.member.Load() }

// EDSServers is how many EDS servers the pool has now, as far as this process knows.
func (r *Registration) EDSServers() int {
	return len(serversOf(r.pool.Load().Members(), time.Time{}).here)
}

// Joined is closed once another member of the pool was met.
func (r *Registration) Joined() <-chan struct{} { return r.pool.Load().Joined() }

// Ready is closed once an EDS server has said that every Envoy it feeds has the
// endpoint, which takes an Envoy that asks for the service.
func (r *Registration) Ready() <-chan struct{} { return r.ready }

// Failed receives one error when the registration has failed for good: see
// [gossip.ErrWedged]. The program should then exit; Serve returns.
func (r *Registration) Failed() <-chan error { return r.failed }

// SetWeight announces another load balancing weight, 1 to 65535.
func (r *Registration) SetWeight(weight uint32) error {
	_, err := r.change(func(m *fleet.Member) { m.Endpoint.Weight = weight })
	return err
}

// SetTags announces other tags in place of all present ones.
func (r *Registration) SetTags(tags map[string]string) error {
	tags = maps.Clone(tags)
	_, err := r.change(func(m *fleet.Member) { m.Endpoint.Tags = tags })
	return err
}

// SetHealthy announces whether the endpoint can serve. An unhealthy endpoint gets
// no requests. While draining, the value is kept for Undrain.
func (r *Registration) SetHealthy(healthy bool) error {
	_, err := r.change(func(*fleet.Member) { r.unhealthy = !healthy })
	return err
}

// Drain announces that the endpoint wants no new requests. It returns nil when every EDS
// server of the pool has reported that no Envoy sends any; the caller continues to serve
// until then. Without an EDS server in the pool it returns at once. When ctx or the drain
// timeout ends it first, the endpoint stays draining, and the error is ctx's, or wraps
// ErrNotDrained and names the servers that did not report. Undrain ends Drain with
// ErrNotDrained as well.
func (r *Registration) Drain(ctx context.Context) error {
	_, err := r.drain(ctx)
	return err
}

// drain implements Drain. clients is the number of Envoys that have removed the endpoint.
func (r *Registration) drain(ctx context.Context) (clients int, err error) {
	revision, err := r.setDraining(true)
	if err != nil {
		return 0, err
	}
	return r.awaitGone(ctx, revision)
}

// Undrain announces that the endpoint takes requests again.
func (r *Registration) Undrain() error {
	_, err := r.setDraining(false)
	return err
}

func (r *Registration) setDraining(draining bool) (uint64, error) {
	return r.change(func(*fleet.Member) { r.draining = draining })
}

// Close announces draining, so that other members can tell a leaving member from a dead one,
// and leaves the pool, which takes up to two seconds. After it no goroutine remains, except
// that a probe of memberlist may take a moment to end. Further calls wait for the first and
// return the same error.
func (r *Registration) Close() error {
	r.closing.Do(func() {
		_, announced := r.setDraining(true)
		close(r.done)
		r.announcing.Lock()
		r.closed = true
		r.announcing.Unlock()
		r.watcher.Wait() // after this the pool is not replaced
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		r.left = errors.Join(announced, r.pool.Load().Leave(ctx))
	})
	return r.left
}

// change applies f to a copy of the member and, if the result is valid and
// different, announces it. It returns the revision of the announcement. f
// may write to the fields that announcing guards.
func (r *Registration) change(f func(*fleet.Member)) (uint64, error) {
	r.announcing.Lock()
	defer r.announcing.Unlock()
	if r.closed {
		return 0, ErrClosed
	}
	m := *r.member.Load()
	was := m
	f(&m)
	m.Endpoint.Health = r.health()
	was.Endpoint.Health = m.Endpoint.Health
	r.member.Store(&was) // before the announcement: a server that receives it may probe at once
	revision, err := r.pool.Load().Announce(m)
	if errors.Is(err, gossip.ErrClosed) || errors.Is(err, gossip.ErrWedged) {
		r.member.Store(&m) // probes see the change now, and the next pool announces it
	}
	if err != nil {
		return 0, fmt.Errorf("announce the change: %w", err)
	}
	m.Revision = revision // a new pool continues from it, so that a drain does not start over
	r.member.Store(&m)
	return revision, nil
}

func (r *Registration) health() fleet.Health {
	switch {
	case r.draining:
		return fleet.Draining
	case r.unhealthy:
		return fleet.Unhealthy
	default:
		return fleet.Healthy
	}
}
