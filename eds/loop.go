package eds

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/pace"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// recallFor is how long a member from before a restart is waited for.
const recallFor = time.Hour

// pool is what the registry's goroutine needs of gossip.
type pool interface {
	Members() []*fleet.Member
	Changed() <-chan struct{}
	Urgent() <-chan struct{}
	Joined() <-chan struct{}
}

// prober is what it needs of the probes.
type prober interface {
	Watch(targets []probe.Target)
	Evidence() map[probe.Key]probe.Evidence
	Revision() uint64
	Woke() time.Time
	Changed() <-chan struct{}
	Urgent() <-chan struct{}
}

// loopOptions are the parts of a loop.
type loopOptions struct {
	self      uuid.UUID
	pool      pool
	overrides *override.Store
	behind    func() bool // another EDS server may know decisions that are not known here
	prober    prober
	admission *admission
	registry  registry.Options
	logger    *slog.Logger

	probes     time.Duration   // between two of an endpoint
	seeds      bool            // there are some, so somebody is to be joined before gossip has settled
	remembered []*fleet.Member // from before a restart

	// store writes what is new in a Snapshot and closes the channel once it is done; nil:
	// nothing is new. It must not block. nil: nothing is stored.
	store func(*registry.Snapshot) <-chan struct{}

	publish []func(*registry.Snapshot) // called in order from the loop; must not block
}

// loop is the registry's goroutine: the only one that turns what is known into a
// Snapshot. Everybody else reads the latest Snapshot or waits for one.
type loop struct {
	loopOptions

	// Owned by run.
	registry *registry.Registry
	settling *settling
	targets  targets
	started  time.Time
	writing  <-chan struct{} // the disk was slow; nil: it is not

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
	l := &loop{loopOptions: opts, registry: registry.New(opts.registry), started: time.Now(), settling: newSettling(time.Now(), opts.seeds, len(opts.remembered) > 0),
		targets: targets{self: opts.self}, confirms: make(chan confirm), next: make(chan struct{})}
	l.remembered = lost(opts.remembered, l.started)
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
	case <-ctx.Done():
		return false, fmt.Errorf("confirm the silence of %q: %w", service, ctx.Err())
	}
	select {
	case held := <-c.held:
		return held, nil
	case <-ctx.Done():
		return false, fmt.Errorf("confirm the silence of %q: %w", service, ctx.Err())
	}
}

// run decides until ctx ends: at once after a change that follows none, together
// after changes that follow each other closely. That an endpoint has gone bad, or
// drains, is urgent.
func (l *loop) run(ctx context.Context) {
	joined := l.pool.Joined()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var changes pace.Pace
	urgent := false
	var confirmed []func() // answered after the next decision, so that who asked sees it
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.pool.Changed():
			l.settling.changed(time.Now())
		case <-l.pool.Urgent():
			urgent = true
		case <-l.prober.Urgent():
			urgent = true
		case <-joined:
			joined = nil
			l.settling.hasJoined(time.Now())
		case <-l.overrides.Changed():
		case <-l.prober.Changed():
		case <-l.admission.voucher.Changed():
		case <-l.admission.owners.changed:
		case c := <-l.confirms:
			held := l.registry.Confirm(c.service)
			confirmed = append(confirmed, func() { c.held <- held })
		case <-timer.C:
		}
		if wait := changes.Wait(time.Now(), urgent); wait > 0 {
			timer.Reset(wait)
			continue
		}
		due := l.decide()
		for _, answer := range confirmed {
			answer()
		}
		confirmed, urgent = nil, false
		changes.Acted(time.Now())
		if !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// decide makes and publishes a Snapshot, and says when to do so again even if
// nothing changes (never, if zero).
func (l *loop) decide() time.Time {
	now := time.Now()
	revised := l.prober.Revision()
	admitted := l.admission.admit(now, l.recalled(now), l.Snapshot())
	evidence := l.prober.Evidence()
	overrides, revision := l.overrides.InForce()
	settled, settleDue := true, time.Time{}
	if !l.settling.settled { // finding out costs a look at every target
		settled, settleDue = l.settling.at(now, l.unknown(admitted, evidence), l.mute(evidence))
	}
	snap, due := l.registry.Decide(registry.Input{
		Now: now, Settled: settled, Revision: revision, Members: admitted.Members, Overrides: overrides,
		Evidence: evidence, EvidenceRevision: revised, Woke: l.prober.Woke(),
	})
	if l.targets.update(now, snap.Members, overrides, evidence) {
		l.prober.Watch(l.targets.list)
	}
	l.remember(snap)
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

// storeMost is how long what is pushed waits for new members to be written. A disk that
// was slower once is not waited for until it has caught up.
const storeMost = 50 * time.Millisecond

// remember has the members that are new in snap written before a client hears of them.
func (l *loop) remember(snap *registry.Snapshot) {
	if l.store == nil {
		return
	}
	written := l.store(snap)
	select {
	case <-l.writing:
		l.writing = nil
	default:
	}
	if written == nil || l.writing != nil {
		return
	}
	timer := time.NewTimer(storeMost)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
		l.writing = written
	}
}

// recalled are the members of the pool, and those from before a restart that are
// not back yet: as lost ones, which are served again after one good answer.
func (l *loop) recalled(now time.Time) []*fleet.Member {
	members := l.pool.Members()
	if l.settling.settled && now.Sub(l.started) > recallFor {
		l.remembered = nil
	}
	if len(l.remembered) == 0 {
		return members
	}
	back := make(map[uuid.UUID]bool, len(members))
	for _, m := range members {
		back[m.ID] = true
	}
	l.remembered = slices.DeleteFunc(l.remembered, func(r *fleet.Member) bool { return back[r.ID] })
	return append(members, l.remembered...)
}

// lost are members that nobody has heard of since then.
func lost(members []*fleet.Member, since time.Time) []*fleet.Member {
	dead := make([]*fleet.Member, len(members))
	for i, m := range members {
		m := *m
		m.Liveness, m.Since = fleet.Dead, since
		dead[i] = &m
	}
	return dead
}

// mute reports whether there are endpoints to hear and none is heard.
func (l *loop) mute(evidence map[probe.Key]probe.Evidence) bool {
	expected := false
	for _, t := range l.targets.list {
		e := evidence[t.Key]
		if e.Tried && !e.Late && e.Verdict != probe.Silent {
			return false
		}
		expected = expected || !e.Unable
	}
	return expected
}

// unknown says how long it may still take until what gossip cannot tell is known:
// that members are where they say, how each endpoint answers, and what other EDS
// servers were told by operators.
func (l *loop) unknown(admitted admit.Result, evidence map[probe.Key]probe.Evidence) time.Duration {
	switch untried := l.untried(evidence); {
	case admitted.Pending > 0:
		return max(untried, settleProbe+vouch.Rounds(admitted.Pending))
	case untried > 0:
		return untried
	case admitted.Fresh: // and not a target yet
		return settleProbe
	case l.behind():
		return settleShare
	default:
		return 0
	}
}

// untried says how long first probes may still take, if some endpoint had none.
func (l *loop) untried(evidence map[probe.Key]probe.Evidence) time.Duration {
	if !slices.ContainsFunc(l.targets.list, func(t probe.Target) bool { e := evidence[t.Key]; return !e.Tried && !e.Unable }) {
		return 0
	}
	return settleProbe + probe.FirstRound(len(l.targets.list), l.probes)
}
