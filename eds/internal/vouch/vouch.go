// Package vouch finds out whether members of the pool are where they say: each is
// challenged at its gossip address until it has answered there once.
package vouch

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

const (
	atOnce     = 512                    // challenges under way; each is bounded by the profile's probe timeout
	asideMost  = 128                    // and beside them, those of members that have not answered several
	several    = 3                      // challenges: a process that does not exist must not keep others waiting
	firstRetry = 100 * time.Millisecond // after a challenge that was not answered; doubles up to lastRetry
	lastRetry  = 5 * time.Second
	roundsMost = 10 * time.Second
)

// Rounds is how long n members may take to be proven that are there, the first
// challenges of which may come before they know who asks.
func Rounds(n int) time.Duration {
	return min(roundsMost, time.Duration(several+n/atOnce)*time.Second)
}

// State says how far a member is proven.
type State int

// The states.
const (
	Unasked State = iota // no challenge had an outcome yet
	Silent               // it did not answer yet
	Proven               // it answered at its gossip address
	Stale                // it did before Renew, and has not missed several challenges since
	Lapsed               // it did before Renew, and has missed several challenges since
)

type key struct {
	id     uuid.UUID
	gossip netip.AddrPort
}

func keyOf(m *fleet.Member) key { return key{m.ID, m.Gossip} }

// Voucher challenges members. Run does the work; the other methods may be called
// from any goroutine, Watch from one at a time, and never block.
type Voucher struct {
	ask     func(context.Context, *fleet.Member) bool
	changed latest.Signal
	renewed latest.Signal
	watched latest.Value[watch]
	turns   *semaphore.Weighted
	aside   *semaphore.Weighted

	mu       sync.Mutex
	states   map[key]State
	revision uint64 // of states
}

// watch is what Watch last received.
type watch struct {
	members   []*fleet.Member
	inService func() map[uuid.UUID]bool
}

// New returns a Voucher that challenges with ask, which bounds its own wait. Known
// members were proven before a restart.
func New(ask func(context.Context, *fleet.Member) bool, known []*fleet.Member) *Voucher {
	v := &Voucher{ask: ask, changed: latest.NewSignal(), renewed: latest.NewSignal(), watched: latest.New[watch](),
		turns: semaphore.NewWeighted(atOnce), aside: semaphore.NewWeighted(asideMost), states: make(map[key]State)}
	for _, m := range known {
		v.states[keyOf(m)] = Proven
	}
	return v
}

// Watch makes members those that are to be proven, in place of those before. What
// is known of those that stay is kept. Of the others only the proofs of those are kept
// that are in service still: a pool that was out of sight for long must not be out of
// service when it is back, but a recorded message of a member that left must not
// have it served at once. inService is called when that matters, not by Watch.
func (v *Voucher) Watch(members []*fleet.Member, inService func() map[uuid.UUID]bool) {
	v.watched.Put(watch{members, inService})
}

// Renew has everyone challenged once more: what answered before may have had no more than
// a gossip key that is gone. It never blocks.
func (v *Voucher) Renew() { v.renewed.Set() }

// State returns what is known of m at the address at which it gossips now.
func (v *Voucher) State(m *fleet.Member) State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.states[keyOf(m)]
}

// Revision changes before State answers differently.
func (v *Voucher) Revision() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.revision
}

// Changed receives after State would answer differently.
func (v *Voucher) Changed() <-chan struct{} { return v.changed }

// asking is of one member that is watched.
type asking struct {
	member *fleet.Member
	stop   context.CancelFunc
}

// Run challenges until ctx ends, and returns after every challenge has ended. It is
// called once.
func (v *Voucher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	asked := make(map[key]asking)
	ask := func(m *fleet.Member) {
		one, stop := context.WithCancel(ctx)
		asked[keyOf(m)] = asking{m, stop}
		if v.State(m) != Proven {
			wg.Go(func() { v.prove(one, m) })
		}
	}
	for {
		var latest watch
		select {
		case <-ctx.Done():
			for _, a := range asked {
				a.stop()
			}
			return
		case <-v.renewed:
			for _, a := range asked { // what they hear now may have been said before
				a.stop()
			}
			v.doubt()
			for _, a := range asked {
				ask(a.member)
			}
			continue
		case latest = <-v.watched:
		}
		wanted := make(map[key]bool, len(latest.members))
		for _, m := range latest.members {
			wanted[keyOf(m)] = true
			if _, ok := asked[keyOf(m)]; !ok {
				ask(m)
			}
		}
		for k, a := range asked {
			if !wanted[k] {
				a.stop()
				delete(asked, k)
			}
		}
		v.forget(wanted, latest.inService)
	}
}

// prove challenges m until it has answered or ctx ends.
func (v *Voucher) prove(ctx context.Context, m *fleet.Member) {
	turns := v.turns
	for i, pause := 1, firstRetry; ; i, pause = i+1, min(2*pause, lastRetry) {
		if i > several {
			turns = v.aside
		}
		if turns.Acquire(ctx, 1) != nil {
			return
		}
		answered := v.ask(ctx, m)
		turns.Release(1)
		if ctx.Err() != nil {
			return
		}
		v.note(ctx, m, answered, i)
		if answered {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// note keeps the outcome of the n-th challenge of m, unless m is not watched any more.
func (v *Voucher) note(ctx context.Context, m *fleet.Member, answered bool, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.states[keyOf(m)]
	s := was
	switch {
	case answered:
		s = Proven
	case was == Unasked:
		s = Silent
	case was == Stale && n >= several:
		s = Lapsed
	}
	if ctx.Err() != nil || s == was {
		return
	}
	v.states[keyOf(m)] = s
	v.revision++
	v.changed.Set()
}

// doubt takes no proof for fresh.
func (v *Voucher) doubt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, s := range v.states {
		if s == Proven {
			v.states[k] = Stale
		}
	}
	v.revision++
}

func (v *Voucher) forget(wanted map[key]bool, inService func() map[uuid.UUID]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var serving map[uuid.UUID]bool
	for k, state := range v.states {
		if wanted[k] {
			continue
		}
		once := state == Proven || state == Stale
		if once && serving == nil {
			serving = inService()
		}
		if !once || !serving[k.id] {
			delete(v.states, k)
			v.revision++
		}
	}
}
