package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

const (
	// lookEvery is how often a drain looks whether an EDS server is gone that it
	// waits for, or new.
	lookEvery = 50 * time.Millisecond

	// orphaned is how long an Envoy may take to find another EDS server after its
	// own has gone: the bootstrap's longest back-off, and some. Until it has, nobody
	// answers for it.
	orphaned = 4 * time.Second

	// meet is how long a drain waits for the pool when nobody of it was met yet: who
	// is just joined may feed Envoys already.
	meet = 500 * time.Millisecond

	// applied is how long an Envoy may take to bring what it acknowledged to its
	// worker threads, which goes by itself and is measured in fractions of it.
	applied = 25 * time.Millisecond

	// complainEvery is how often it is logged that EDS servers refuse this upstream: all
	// of a pool say the same, and anybody in it may say so.
	complainEvery = 10 * time.Second
)

// ErrNotDrained is wrapped by Drain's error when the drain timeout, or Undrain,
// ended it.
var ErrNotDrained = errors.New("not every Envoy is known to have let go")

// ledger keeps the latest receipt of each EDS server.
type ledger struct {
	mu       sync.Mutex
	receipts map[uuid.UUID]gossip.Receipt
	changed  chan struct{} // closed, and replaced, when receipts changes
}

func newLedger() *ledger {
	return &ledger{receipts: make(map[uuid.UUID]gossip.Receipt), changed: make(chan struct{})}
}

// note keeps r unless an earlier one outranks it: of one announcement that is the
// final one, however the two came.
func (l *ledger) note(r gossip.Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.receipts[r.Server]; r.Revision < old.Revision || r.Revision == old.Revision && r.State < old.State {
		return
	}
	l.receipts[r.Server] = r
	close(l.changed)
	l.changed = make(chan struct{})
}

// clear forgets all: what was said of one id says nothing of the next.
func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.receipts)
}

// gone reports which of servers have not said that no Envoy has the announcement's
// endpoint any more, how many clients the others have, and when to look again.
func (l *ledger) gone(servers []uuid.UUID, revision uint64) (behind []string, clients int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range servers {
		r := l.receipts[id]
		switch {
		case r.Revision >= revision && r.State == gossip.Gone:
			clients += r.Clients
		case r.Revision >= revision && r.Behind != "":
			behind = append(behind, fmt.Sprintf("eds server %s waits for %s", id, r.Behind))
		default:
			behind = append(behind, fmt.Sprintf("eds server %s has not answered", id))
		}
	}
	return behind, clients, l.changed
}

// servers are the EDS servers of the pool that are there now, and until when there
// may be Envoys that lost one and have not found another.
func servers(members []*fleet.Member) (ids []uuid.UUID, until time.Time) {
	for _, m := range members {
		switch {
		case m.Role != fleet.RoleEDS:
		case m.Liveness == fleet.Alive && m.Endpoint.Health != fleet.Draining:
			ids = append(ids, m.ID)
		default:
			if t := m.Since.Add(orphaned); t.After(until) {
				until = t
			}
		}
	}
	return ids, until
}

// awaitGone waits until every EDS server of the pool has said that no Envoy has
// the endpoint any more, and returns how many Envoys those are that might have had it.
func (r *Registration) awaitGone(ctx context.Context, revision uint64) (clients int, err error) {
	if time.Since(r.since) < 2*meet && len(r.opts.seeds) > 0 {
		select {
		case <-r.Joined():
		case <-time.After(meet):
		case <-ctx.Done():
		case <-r.done:
		}
	}
	timeout := time.NewTimer(r.opts.drainTimeout)
	defer timeout.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		pool := r.pool.Load()
		ids, orphans := servers(pool.Members())
		behind, clients, changed := r.ledger.gone(ids, revision)
		if time.Now().Before(orphans) {
			behind = append(behind, "an eds server has just gone, its Envoys have to find another")
		}
		if len(behind) == 0 {
			return clients, r.settle(ctx, clients)
		}
		if r.Member().Endpoint.Health != fleet.Draining {
			return 0, fmt.Errorf("undrained meanwhile: %w", ErrNotDrained)
		}
		select {
		case <-changed:
		case <-look.C:
		case <-timeout.C:
			return 0, fmt.Errorf("drained for %s: %w: %s", r.opts.drainTimeout, ErrNotDrained, strings.Join(behind, "; "))
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-r.done:
			return 0, ErrClosed
		}
	}
}

// settle gives the Envoys' workers the moment that they need.
func (r *Registration) settle(ctx context.Context, clients int) error {
	if clients == 0 {
		return nil
	}
	select {
	case <-time.After(applied):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return ErrClosed
	}
}

// received notes a receipt, and logs the first one that says that the endpoint
// serves. watch alone calls it.
func (r *Registration) received(receipt gossip.Receipt) {
	if receipt.State == gossip.Denied {
		r.refused(receipt)
		return
	}
	r.ledger.note(receipt)
	if receipt.State != gossip.Serving {
		return
	}
	r.serving.Do(func() {
		r.opts.log.Info(fmt.Sprintf("serving through %d Envoys after %d ms", receipt.Clients, time.Since(r.since).Milliseconds()),
			"service", r.Member().Service, "eds_server", receipt.Server)
		close(r.ready)
	})
}

// refused logs why an EDS server serves the endpoint to nobody, which its operator or
// this program's has to mend.
func (r *Registration) refused(receipt gossip.Receipt) {
	if now := time.Now(); now.Sub(r.complained) >= complainEvery {
		r.complained = now
		r.opts.log.Warn("an EDS server refuses to serve this", "service", r.Member().Service, "reason", receipt.Behind, "eds_server", receipt.Server)
	}
}
