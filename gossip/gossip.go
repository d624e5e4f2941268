// Package gossip is the pool: it announces this process to the others over memberlist,
// rejoins lost seeds, and reports every member that it has seen as a fleet.Member. What a
// member says of itself is not judged here.
//
// Import it for a tool that watches the pool, or for a member that neither serves
// ([github.com/rollcall-fleet/rollcall/upstream]) nor feeds Envoys
// ([github.com/rollcall-fleet/rollcall/eds]).
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

const (
	// announceWait bounds one round of memberlist's announcing, which sends the word
	// as often as it will: 0.3 s with few members, above a second with 100.
	announceWait = 2 * time.Second

	// spread is how long a change takes to reach all of 100 members, measured at
	// up to 0.46 s. The word of leaving overtakes an earlier one, so it waits: who
	// hears of it first takes the member for dead.
	spread = 600 * time.Millisecond

	// joinWait is how long leaving waits for a join that is under way.
	joinWait = time.Second

	// leaveWait is the bound for the word of leaving.
	leaveWait = 5 * time.Second

	// linger is how long a leaving member stays to pass that word on.
	linger = time.Second
)

// ErrClosed is returned by calls on a pool that was closed or left.
var ErrClosed = errors.New("gossip pool is closed")

// Pool is this process's membership of the gossip pool. Its methods may be called
// from any goroutine.
type Pool struct {
	id           uuid.UUID
	log          *slog.Logger
	quiet        *throttle
	list         *memberlist.Memberlist
	members      *members
	delegate     *delegate
	shared       func(*fleet.Member, []byte) // nil when nothing is shared
	probeTimeout time.Duration
	encode       func(fleet.Member) ([]byte, error) // what to announce, signed if it is to be
	envelopes    *message.Envelopes
	handlers     map[message.Kind]handler // of what the envelopes let in
	challenges   challenges
	relaying     relaying
	transport    memberlist.Transport
	sorted       *sorter // on top of it
	links        *links
	reported     atomic.Pointer[Report] // what is announced, for the links
	counts       *counts
	queries      chan message.Message // bounded; never waited for
	callers      chan netip.AddrPort  // bounded; never waited for

	keying  sync.Mutex // guards keyring
	keyring keyring
	removed latest.Signal // see KeyRemoved

	asking   sync.Mutex // guards asked
	asked    map[uuid.UUID]chan KeyAnswer
	missing  latest.Signal
	receipts chan fleet.Receipt // bounded; never waited for
	update   latest.Signal      // asks the announcer to publish

	ctx    context.Context // done once the pool is to be shut down
	cancel context.CancelFunc
	stop   context.CancelFunc // ends the rejoin loop alone
	rested chan struct{}      // closed once that has ended
	wg     sync.WaitGroup     // the rejoin loop, the announcer, words on their way

	failed chan error         // capacity one; written by the watchdog
	wedged chan struct{}      // closed by the watchdog
	rest   context.CancelFunc // ends the watchdog, which outlives all else
	guard  sync.WaitGroup     // the watchdog

	announcing sync.Mutex // guards what follows
	revision   uint64     // of the last announcement
	announced  time.Time  // when that was

	ending sync.Mutex // held by Leave and Close
	ended  bool       // guarded by ending
}

// Start listens and announces opts.Member. It does not wait for the seeds: they
// are tried in the background for as long as the pool is open.
func Start(opts Options) (*Pool, error) {
	return start(opts, func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	})
}

func start(opts Options, lookup lookupFunc) (*Pool, error) {
	meta, err := opts.prepare()
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	seeds, err := parseSeeds(opts.Seeds)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	quiet, count := newThrottle(), &counts{}
	p := &Pool{
		id: opts.Member.ID, log: opts.Logger, quiet: quiet, shared: opts.Shared, counts: count, encode: opts.encode, envelopes: opts.envelopes(),
		queries: make(chan message.Message, keyQueries), callers: make(chan netip.AddrPort, callers),
		members: newMembers(opts.Member.ID.String(), opts.Logger, quiet, opts.admission(count)),
		removed: latest.NewSignal(), missing: latest.NewSignal(), receipts: make(chan fleet.Receipt, keepReceipts), update: latest.NewSignal(),
		rested:   make(chan struct{}),
		revision: opts.Member.Revision, announced: time.Now(), failed: make(chan error, 1), wedged: make(chan struct{}),
	}
	p.members.panics = panics.Catcher{Logger: opts.Logger, Count: opts.Panicked}
	p.handlers = p.newHandlers()
	p.delegate = newDelegate(meta, p.receive, p.members.panics)
	p.reported.Store(&Report{Revision: opts.Member.Revision, Health: opts.Member.Endpoint.Health})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if p.list, err = opts.create(p, bridge(opts.Logger, quiet)); err != nil {
		p.cancel()
		return nil, err
	}
	p.watch(watchdog{check: func() { p.list.NumMembers() }, every: watchEvery, ticks: watchTicks})
	ctx, stop := context.WithCancel(p.ctx)
	p.stop = stop
	r := &rejoiner{
		seeds: seeds, remembered: opts.Remembered, fleet: opts.Fleet,
		members: p.members, join: p.join, names: newNames(lookup), rests: make(rests), log: opts.Logger,
	}
	p.wg.Go(func() {
		defer close(p.rested)
		r.run(ctx)
	})
	p.wg.Go(p.announcer)
	p.wg.Go(p.keyKeeper)
	p.wg.Go(p.tellLost)
	if opts.Member.Role == fleet.RoleEDS {
		for range callsAll {
			p.wg.Go(p.answerCalls)
		}
	}
	return p, nil
}

// Self returns this process as the others see it.
func (p *Pool) Self() fleet.Member { return p.members.self() }

// Members returns every member seen, this process, quarantined and gone ones
// included, sorted by id. Those that left or died are kept for an hour. The list is
// shared until something changes: it is read-only.
func (p *Pool) Members() []*fleet.Member { return p.members.list() }

// Changed receives after Members would answer differently. It holds one signal: a
// reader that was away sees one, however many changes there were.
func (p *Pool) Changed() <-chan struct{} { return p.members.changed }

// Urgent receives after a member that was healthy has said directly, ahead of gossip,
// that it is not. It holds one signal, as Changed does, which receives as well.
func (p *Pool) Urgent() <-chan struct{} { return p.members.urgent }

// Joined is closed once a member other than this process was seen, because a seed
// or a remembered member let us in, or because another member joined us.
func (p *Pool) Joined() <-chan struct{} { return p.members.joined }

// Leave tells the pool that this process goes, stays about a second so that the
// word spreads, and shuts down: 1 s if draining was announced before, else up to
// 3 s, at once if there is no other member. It is final. Once ctx is done it hurries;
// it returns an error when the word may not have reached anybody.
func (p *Pool) Leave(ctx context.Context) error {
	p.ending.Lock()
	defer p.ending.Unlock()
	if p.ended {
		return nil
	}
	p.stop()
	select {
	case <-p.rested: // whom it is just joining may know us before we know them
	case <-time.After(joinWait):
	case <-ctx.Done():
	}
	var errs []error
	if m := p.Self(); m.Endpoint.Health != fleet.Draining && ctx.Err() == nil {
		m.Endpoint.Health = fleet.Draining // else the others take it for a crash
		_, err := p.Announce(m)
		errs = append(errs, err)
	}
	p.announcing.Lock()
	settled := p.announced.Add(spread)
	p.announcing.Unlock()
	p.pause(ctx, time.Until(settled))
	left := time.Now()
	if err := p.leave(ctx); err != nil {
		errs = append(errs, fmt.Errorf("leave the pool: %w", err))
	}
	p.pause(ctx, time.Until(left.Add(linger)))
	p.shutdown()
	return errors.Join(errs...)
}

// leave says goodbye. memberlist panics when it is asked to after its shutdown, and
// in a wedged one a goroutine that was left to itself might come to that.
func (p *Pool) leave(ctx context.Context) error {
	select {
	case <-p.wedged:
		return ErrWedged
	default:
		return p.unlessWedged(func() error { return p.list.Leave(within(ctx, leaveWait)) })
	}
}

// pause waits for d, unless there is no other member or the stop is hurried.
func (p *Pool) pause(ctx context.Context, d time.Duration) {
	if d <= 0 || p.members.others() == 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	case <-p.ctx.Done():
	case <-p.wedged:
	}
}

// Close shuts down without a word: to the others it is a crash. It waits for a
// Leave that is under way and hurries it. Further calls do nothing.
func (p *Pool) Close() error {
	p.cancel()
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.ended {
		p.shutdown()
	}
	return nil
}

// shutdown ends everything and waits for it. The caller holds ending.
func (p *Pool) shutdown() {
	p.ended = true
	p.members.close()
	p.announcing.Lock() // announcements under way have finished, no other begins
	p.cancel()
	p.announcing.Unlock()
	p.links.close()
	err := p.unlessWedged(func() error {
		defer p.wg.Wait()
		return p.list.Shutdown()
	})
	p.rest()
	p.guard.Wait()
	if err != nil {
		p.log.Warn("gossip did not shut down cleanly", "err", err)
	}
}

// join exchanges the full state with the member at addr.
func (p *Pool) join(addr netip.AddrPort) error {
	_, err := p.list.Join([]string{addr.String()})
	return err
}

// within is the time that ctx leaves, at most limit, and never zero, which
// memberlist takes for no limit at all.
func within(ctx context.Context, limit time.Duration) time.Duration {
	if ctx.Err() != nil {
		return time.Millisecond
	}
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	return max(limit, time.Millisecond)
}
