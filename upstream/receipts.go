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
)

const (
	// lookEvery is how often a drain looks whether an EDS server is gone that it
	// waits for, or new.
	lookEvery = 50 * time.Millisecond

	// orphaned is how long an Envoy may take to find another EDS server after its
	// own is lost: what is left of the bootstrap's keepalive once gossip has noticed, its
	// longest back-off, and some. Until it has, no EDS server answers for it.
	orphaned = 4 * time.Second

	// unaccounted is how long the clients of an EDS server that died without a word are
	// waited for until as many have come to the others: an Envoy with a slow keepalive, or
	// none, takes longer than orphaned.
	unaccounted = 20 * time.Second

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
var ErrNotDrained = errors.New("not every Envoy has confirmed the removal")

// ledger keeps the latest receipt of each EDS server.
type ledger struct {
	mu       sync.Mutex
	receipts map[uuid.UUID]fleet.Receipt
	served   map[uuid.UUID][]tally // the Envoys of each EDS server while it serves the endpoint, in the order of time
	changed  chan struct{}         // closed, and replaced, when receipts changes
}

func newLedger() *ledger {
	return &ledger{receipts: make(map[uuid.UUID]fleet.Receipt), served: make(map[uuid.UUID][]tally), changed: make(chan struct{})}
}

// note keeps r unless an earlier one outranks it: of one announcement that is the
// final one, however the two came.
func (l *ledger) note(r fleet.Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.receipts[r.Server]; r.Revision < old.Revision || r.Revision == old.Revision && r.State < old.State {
		return
	}
	l.receipts[r.Server] = r
	if r.State == fleet.ReceiptServing {
		l.served[r.Server] = appendTally(l.served[r.Server], tally{time.Now(), r.Clients})
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// clear forgets all: what was said of one id says nothing of the next.
func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.receipts)
	clear(l.served)
}

// gone reports which of servers have not said that no Envoy has the announcement's
// endpoint any more, how many clients the others have, and when to look again.
func (l *ledger) gone(servers []uuid.UUID, revision uint64) (behind []string, clients int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range servers {
		r := l.receipts[id]
		switch {
		case r.Revision >= revision && r.State == fleet.ReceiptGone:
			clients += r.Clients
		case r.Revision >= revision && r.Behind != "":
			behind = append(behind, fmt.Sprintf("eds server %s waits for %s", id, r.Behind))
		default:
			behind = append(behind, fmt.Sprintf("eds server %s has not answered", id))
		}
	}
	return behind, clients, l.changed
}

// standing is how far a drain has come.
type standing struct {
	behind  []string        // whom it has to wait for; none: it is over
	clients int             // that have let go
	unknown error           // of some it is not known; with none behind, it will not be
	changed <-chan struct{} // closed when there is more to know
}

// standing says how far the drain has come that began at a time and announced revision.
func (l *ledger) standing(members []*fleet.Member, revision uint64, began time.Time) (st standing) {
	s, now := serversOf(members, began), time.Now()
	st.behind, st.clients, st.changed = l.gone(s.here, revision)
	if now.Before(s.until) {
		st.behind = append(st.behind, "an EDS server was lost, and its Envoys have yet to find another")
	}
	if n := l.missing(s); n > 0 && len(st.behind) == 0 {
		why := fmt.Sprintf("an EDS server was lost, and %d of its Envoys have not reached another", n)
		if st.unknown = fmt.Errorf("%w: %s", ErrNotDrained, why); now.Before(s.slow) {
			st.behind = append(st.behind, why)
		}
	}
	return st
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
	began := time.Now()
	timeout := time.NewTimer(r.opts.drainTimeout)
	defer timeout.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		st := r.ledger.standing(r.pool.Load().Members(), revision, began)
		if len(st.behind) == 0 {
			return st.clients, errors.Join(st.unknown, r.settle(ctx, st.clients))
		}
		if r.Member().Endpoint.Health != fleet.Draining {
			return 0, fmt.Errorf("the drain was undone: %w", ErrNotDrained)
		}
		select {
		case <-st.changed:
		case <-look.C:
		case <-timeout.C:
			return 0, fmt.Errorf("drained for %s: %w: %s", r.opts.drainTimeout, ErrNotDrained, strings.Join(st.behind, "; "))
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
func (r *Registration) received(receipt fleet.Receipt) {
	if receipt.State == fleet.ReceiptDenied {
		r.refused(receipt)
		return
	}
	r.ledger.note(receipt)
	if receipt.State != fleet.ReceiptServing {
		return
	}
	r.serving.Do(func() {
		r.opts.log.Info("endpoint in service", "envoys", receipt.Clients, "after", time.Since(r.since).Round(time.Millisecond),
			"service", r.Member().Service, "eds_server", receipt.Server)
		close(r.ready)
	})
}

// refused logs why an EDS server serves the endpoint to nobody, which its operator or
// this program's has to mend.
func (r *Registration) refused(receipt fleet.Receipt) {
	if now := time.Now(); now.Sub(r.complained) >= complainEvery {
		r.complained = now
		r.opts.log.Warn("an EDS server refuses to serve this endpoint", "service", r.Member().Service, "reason", receipt.Behind, "eds_server", receipt.Server)
	}
}
