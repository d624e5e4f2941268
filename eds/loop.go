package eds

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// pool is what the registry's goroutine needs of gossip.
type pool interface {
	Members() []fleet.Member
	Changed() <-chan struct{}
	Joined() <-chan struct{}
}

// loop is the registry's goroutine: the only one that turns what is known into a
// Snapshot. Everybody else reads the latest Snapshot or waits for one.
type loop struct {
	pool      pool
	overrides *override.Store
	publish   []func(*registry.Snapshot) // called in order from the loop; must not block
	logger    *slog.Logger

	// Owned by run.
	settling *settling

	// Written by run, read by anybody.
	latest atomic.Pointer[registry.Snapshot]

	mu   sync.Mutex
	next chan struct{} // closed when latest is replaced
}

func newLoop(p pool, o *override.Store, logger *slog.Logger, expects bool, publish ...func(*registry.Snapshot)) *loop {
	l := &loop{pool: p, overrides: o, publish: publish, logger: logger,
		settling: newSettling(time.Now(), expects), next: make(chan struct{})}
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

// run merges until ctx ends: at once, and after every change of what goes in.
func (l *loop) run(ctx context.Context) {
	joined := l.pool.Joined()
	timer := time.NewTimer(0)
	defer timer.Stop()
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
		case <-timer.C:
		}
		if due := l.merge(); !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// merge builds and publishes a Snapshot, and says when to do so again even if
// nothing changes (never, if zero).
func (l *loop) merge() time.Time {
	settled, due := l.settling.at(time.Now())
	overrides, revision := l.overrides.List()
	snap := registry.Merge(registry.Input{
		Settled: settled, Revision: revision, Members: l.pool.Members(), Overrides: overrides,
	})
	before := l.latest.Swap(snap)
	for _, publish := range l.publish {
		publish(snap)
	}
	l.mu.Lock()
	close(l.next)
	l.next = make(chan struct{})
	l.mu.Unlock()
	if settled && !before.Settled {
		l.logger.Info("gossip has settled", "members", len(snap.Members), "services", len(snap.Services))
	}
	if settled {
		return time.Time{}
	}
	return due
}
