// Package decide has the goroutine that owns the registry's state. It waits for changes of
// the pool, the overrides and the evidence, decides, and publishes Snapshots; around it are
// the rules of when gossip has settled, whom to probe, and what to log.
package decide

import (
	"cmp"
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

// Pool is what the loop needs of gossip.
type Pool interface {
	Members() []*fleet.Member
	Changed() <-chan struct{}
	Urgent() <-chan struct{}
	Joined() <-chan struct{}
}

// Prober is what the loop needs of the probes.
type Prober interface {
	Watch(targets []probe.Target)
	Evidence() map[probe.Key]probe.Evidence
	Revision() uint64
	Woke() time.Time
	Changed() <-chan struct{}
	Urgent() <-chan struct{}
}

// Admission decides which members may have an endpoint.
type Admission interface {
	// Admit returns the members with those quarantined that may have none. It is called
	// from the loop alone. inService returns the members with an endpoint in service.
	Admit(now time.Time, members []*fleet.Member, inService func() map[uuid.UUID]bool) admit.Result

	// Both receive when Admit may answer differently about the same members: after a
	// challenge had another outcome, and after the keys of services changed.
	Proven() <-chan struct{}
	KeysChanged() <-chan struct{}
}

// Options are the parts of a Loop.
type Options struct {
	Self      uuid.UUID
	Pool      Pool
	Overrides *override.Store
	Behind    func() bool // another EDS server may have overrides that are unknown here
	Prober    Prober
	Admission Admission
	Registry  registry.Options
	Logger    *slog.Logger

	Probes     time.Duration   // between two of an endpoint; 0: probe.DefaultInterval
	Seeds      bool            // there are some, so one of them is to be joined before gossip has settled
	Remembered []*fleet.Member // from before a restart

	// Store writes what is new in a Snapshot and closes the channel once it is done; nil:
	// nothing is new. It must not block. Without it nothing is stored.
	Store func(*registry.Snapshot) <-chan struct{}

	Publish []func(*registry.Snapshot) // called in order from the loop; must not block
}

// Loop is the registry's goroutine: the only one that turns what is known into a
// Snapshot. Everybody else reads the latest Snapshot or waits for one.
type Loop struct {
	Options

	// Owned by Run.
	registry   *registry.Registry
	remembered []*fleet.Member // those that have not come back
	settling   *settling
	targets    targets
	started    time.Time
	writing    <-chan struct{} // the disk was slow; nil: it is not

	// Written by Run, read from any goroutine.
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

// New returns a Loop that has published an empty Snapshot.
func New(opts Options) *Loop {
	opts.Probes = cmp.Or(opts.Probes, probe.DefaultInterval)
	now := time.Now()
	l := &Loop{
		Options: opts, registry: registry.New(opts.Registry), started: now, remembered: lost(opts.Remembered, now),
		settling: newSettling(now, opts.Seeds, len(opts.Remembered) > 0), targets: targets{self: opts.Self},
		confirms: make(chan confirm), next: make(chan struct{}),
	}
	l.latest.Store(&registry.Snapshot{})
	return l
}

// Snapshot returns the latest Snapshot; it is never nil. Any goroutine may call it.
func (l *Loop) Snapshot() *registry.Snapshot { return l.latest.Load() }

// Wait returns once a Snapshot with at least the override store's revision is
// out, or with ctx's error. Any goroutine may call it.
func (l *Loop) Wait(ctx context.Context, revision uint64) error {
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

// Confirm ends the guard of a service, since an operator knows that its
// silent endpoints are dead. It reports whether the guard was holding. Any
// goroutine may call it.
func (l *Loop) Confirm(ctx context.Context, service string) (bool, error) {
	c := confirm{service: service, held: make(chan bool, 1)}
	select {
	case l.confirms <- c:
	case <-ctx.Done():
		return false, fmt.Errorf("confirm that %q is silent: %w", service, ctx.Err())
	}
	select {
	case held := <-c.held:
		return held, nil
	case <-ctx.Done():
		return false, fmt.Errorf("confirm that %q is silent: %w", service, ctx.Err())
	}
}

// Run decides until ctx ends: at once after a change that follows none, together
// after changes that follow each other closely. That an endpoint has gone bad, or
// drains, is urgent.
func (l *Loop) Run(ctx context.Context) {
	joined := l.Pool.Joined()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var changes pace.Pace
	urgent := false
	var confirmed []func() // answered after the next Snapshot, so that the caller sees it
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.Pool.Changed():
			l.settling.changed(time.Now())
		case <-l.Pool.Urgent():
			urgent = true
		case <-l.Prober.Urgent():
			urgent = true
		case <-joined:
			joined = nil
			l.settling.hasJoined(time.Now())
		case <-l.Overrides.Changed():
		case <-l.Prober.Changed():
		case <-l.Admission.Proven():
		case <-l.Admission.KeysChanged():
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
func (l *Loop) decide() time.Time {
	now := time.Now()
	revised := l.Prober.Revision()
	before := l.Snapshot()
	inService := func() map[uuid.UUID]bool { return before.InService(false) }
	admitted := l.Admission.Admit(now, l.recalled(now), inService)
	evidence := l.Prober.Evidence()
	overrides, revision := l.Overrides.InForce()
	settled, settleDue := true, time.Time{}
	if !l.settling.settled { // finding out costs a look at every target
		settled, settleDue = l.settling.at(now, l.unknown(admitted, evidence), l.mute(evidence))
	}
	snap, due := l.registry.Decide(registry.Input{
		Now: now, Settled: settled, Revision: revision, Members: admitted.Members, Overrides: overrides,
		Evidence: evidence, EvidenceRevision: revised, Woke: l.Prober.Woke(),
	})
	if l.targets.update(now, snap.Members, overrides, evidence) {
		l.Prober.Watch(l.targets.list)
	}
	l.remember(snap)
	l.latest.Store(snap)
	for _, publish := range l.Publish {
		publish(snap)
	}
	l.mu.Lock()
	close(l.next)
	l.next = make(chan struct{})
	l.mu.Unlock()
	narrate(l.Logger, before, snap)
	if !settled && (due.IsZero() || settleDue.Before(due)) {
		due = settleDue
	}
	return due
}

// storeMost is how long what is pushed waits for new members to be written. A disk that
// was slower once is not waited for until it has caught up.
const storeMost = 50 * time.Millisecond

// remember has the members that are new in snap written before a client receives them.
func (l *Loop) remember(snap *registry.Snapshot) {
	if l.Store == nil {
		return
	}
	written := l.Store(snap)
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
func (l *Loop) recalled(now time.Time) []*fleet.Member {
	members := l.Pool.Members()
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

// lost are members that gossip has not heard of since then.
func lost(members []*fleet.Member, since time.Time) []*fleet.Member {
	dead := make([]*fleet.Member, len(members))
	for i, m := range members {
		m := *m
		m.Liveness, m.Since = fleet.Dead, since
		dead[i] = &m
	}
	return dead
}

// mute reports whether there are endpoints and none is heard.
func (l *Loop) mute(evidence map[probe.Key]probe.Evidence) bool {
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
// servers received from operators.
func (l *Loop) unknown(admitted admit.Result, evidence map[probe.Key]probe.Evidence) time.Duration {
	switch untried := l.untried(evidence); {
	case admitted.Pending > 0:
		return max(untried, settleProbe+vouch.Rounds(admitted.Pending))
	case untried > 0:
		return untried
	case admitted.Fresh: // and not a target yet
		return settleProbe
	case l.Behind():
		return settleShare
	default:
		return 0
	}
}

// untried says how long first probes may still take, if some endpoint had none.
func (l *Loop) untried(evidence map[probe.Key]probe.Evidence) time.Duration {
	if !slices.ContainsFunc(l.targets.list, func(t probe.Target) bool { e := evidence[t.Key]; return !e.Tried && !e.Unable }) {
		return 0
	}
	return settleProbe + probe.FirstRound(len(l.targets.list), l.Probes)
}
