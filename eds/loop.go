package eds

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// together is how long changes that follow one that was acted upon wait for each
// other.
const together = 10 * time.Millisecond

// pool is what the registry's goroutine needs of gossip.
type pool interface {
	Members() []fleet.Member
	Changed() <-chan struct{}
	Joined() <-chan struct{}
}

// prober is what it needs of the probes.
type prober interface {
	Watch(targets []probe.Target)
	Evidence() map[probe.Key]probe.Evidence
	Woke() time.Time
	Changed() <-chan struct{}
}

// loopOptions are the parts of a loop.
type loopOptions struct {
	pool      pool
	overrides *override.Store
	prober    prober
	registry  registry.Options
	expects   bool // somebody is to be joined before gossip has settled
	logger    *slog.Logger
	publish   []func(*registry.Snapshot) // called in order from the loop; must not block
}

// loop is the registry's goroutine: the only one that turns what is known into a
// Snapshot. Everybody else reads the latest Snapshot or waits for one.
type loop struct {
	loopOptions

	// Owned by run.
	registry *registry.Registry
	settling *settling
	targets  []probe.Target

	// Written by run, read by anybody.
	latest atomic.Pointer[registry.Snapshot]

	confirms chan confirm

	mu   sync.Mutex
	next chan struct{} // closed when latest is replaced
}

// confirm asks the loop to let the guard of a service go.
type confirm struct {
	service string
	held    chan bool // capacity one
}

func newLoop(opts loopOptions) *loop {
	l := &loop{loopOptions: opts, registry: registry.New(opts.registry), settling: newSettling(time.Now(), opts.expects),
		confirms: make(chan confirm), next: make(chan struct{})}
	l.latest.Store(&registry.Snapshot{})
	return l
}

// Snapshot returns the latest Snapshot; it is never nil. Any goroutine may call it.
func (l *loop) Snapshot() *registry.Snapshot { return l.latest.Load() }

// Wait returns once a Snapshot with at least the override store's revision is
// out, or with ctx's error. Any goroutine may call it.
func (l *loop) Wait(ctx context.Context, revision uint64) error {
	for {
		l.mu.Lock()
		next := l.next
		l.mu.Unlock()
		if l.Snapshot().Revision >= revision {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d: %w", revision, ctx.Err())
		}
	}
}

// Confirm makes the guard of a service let go, since an operator knows that its
// silent endpoints are dead. It reports whether the guard was holding. Any
// goroutine may call it.
func (l *loop) Confirm(ctx context.Context, service string) (bool, error) {
	c := confirm{service: service, held: make(chan bool, 1)}
	select {
	case l.confirms <- c:
		return <-c.held, nil
	case <-ctx.Done():
		return false, fmt.Errorf("confirm the silence of %q: %w", service, ctx.Err())
	}
}

// run decides until ctx ends: at once after a change that follows none, together
// after changes that follow each other closely.
func (l *loop) run(ctx context.Context) {
	joined := l.pool.Joined()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.pool.Changed():
			l.settling.changed(time.Now())
		case <-joined:
			joined = nil
			l.settling.hasJoined(time.Now())
		case <-l.overrides.Changed():
		case <-l.prober.Changed():
		case c := <-l.confirms:
			c.held <- l.registry.Confirm(c.service)
		case <-timer.C:
		}
		if wait := time.Until(last.Add(together)); wait > 0 {
			timer.Reset(wait)
			continue
		}
		due := l.decide()
		last = time.Now()
		if !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// decide makes and publishes a Snapshot, and says when to do so again even if
// nothing changes (never, if zero).
func (l *loop) decide() time.Time {
	now := time.Now()
	members, evidence := l.pool.Members(), l.prober.Evidence()
	overrides, revision := l.overrides.List()
	if targets := targetsOf(now, members, overrides, evidence); !slices.Equal(targets, l.targets) {
		l.targets = targets
		l.prober.Watch(targets)
	}
	settled, settleDue := l.settling.at(now, l.untried(evidence))
	snap, due := l.registry.Decide(registry.Input{
		Now: now, Settled: settled, Revision: revision, Members: members, Overrides: overrides,
		Evidence: evidence, Woke: l.prober.Woke(),
	})
	before := l.latest.Swap(snap)
	for _, publish := range l.publish {
		publish(snap)
	}
	l.mu.Lock()
	close(l.next)
	l.next = make(chan struct{})
	l.mu.Unlock()
	narrate(l.logger, before, snap)
	if !settled && (due.IsZero() || settleDue.Before(due)) {
		due = settleDue
	}
	return due
}

// untried reports whether some endpoint was not probed yet.
func (l *loop) untried(evidence map[probe.Key]probe.Evidence) bool {
	return slices.ContainsFunc(l.targets, func(t probe.Target) bool { return !evidence[t.Key].Tried })
}
