// Package follow has what follows each Snapshot: receipts that report to members how far Envoys
// are, links to members, the members on disk, overrides that end with their process, and
// reminders to members that gossip has lost. None of them can make the registry wait.
package follow

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

const (
	receiptsTogether = 2 * time.Millisecond // acknowledgements are looked at this long after the first
	pendingEvery     = time.Second          // how often a draining member receives who is missing
	receiptsAtOnce   = 64                   // sends under way; each is bounded by the profile's TCP timeout
	refusedAtOnce    = 4                    // of them to members that are refused, beside the others: those may not be there at all
	refusedAfter     = 3 * time.Second      // a new member has yet to prove its address
	refusedAgain     = time.Minute          // after a send that failed
)

// Receipts reports to the members of the pool how far Envoys are with what they
// announced: that every client of the service has the endpoint, or that none has
// it any more, by what each acknowledged.
type Receipts struct {
	standings func(service string) xds.Standings
	acked     <-chan struct{} // something may have come further
	send      func(*fleet.Member, fleet.Receipt) error
	observe   func(kind string, took time.Duration)
	logger    *slog.Logger
	latest    latest.Value[*registry.Snapshot]

	// Owned by run.
	open    map[uuid.UUID]*claim
	sending *semaphore.Weighted
	denying *semaphore.Weighted // sends to those that are refused
	failed  chan uuid.UUID      // sends that did not reach their member
}

// claim is a receipt that a member waits for.
type claim struct {
	revision uint64
	leaves   bool           // it is to be out, not in
	refusal  string         // why this server does not serve it, to be sent to it
	endpoint fleet.Endpoint // what is to be in
	changes  bool           // it was in before, with another weight or the like
	since    time.Time
	done     bool
	clients  int       // that the last receipt spoke of
	observed bool      // for the metrics, once
	told     time.Time // when it last received who is missing
	again    time.Time // not before this, after a send that failed
}

func NewReceipts(standings func(string) xds.Standings, acked <-chan struct{}, send func(*fleet.Member, fleet.Receipt) error,
	observe func(string, time.Duration), logger *slog.Logger) *Receipts {
	return &Receipts{standings: standings, acked: acked, send: send, observe: observe, logger: logger,
		latest: latest.New[*registry.Snapshot](), open: make(map[uuid.UUID]*claim), sending: semaphore.NewWeighted(receiptsAtOnce),
		denying: semaphore.NewWeighted(refusedAtOnce),
		failed:  make(chan uuid.UUID, receiptsAtOnce)}
}

// Update hands over a Snapshot, after it was given to the xDS server. It never
// blocks; only the loop may call it.
func (r *Receipts) Update(snap *registry.Snapshot) {
	r.latest.Put(snap)
}

// Run looks at what has come further until ctx ends, and waits for the sends.
func (r *Receipts) Run(ctx context.Context) {
	defer func() {
		_ = r.sending.Acquire(context.WithoutCancel(ctx), receiptsAtOnce)
		_ = r.denying.Acquire(context.WithoutCancel(ctx), refusedAtOnce)
	}()
	snap := &registry.Snapshot{}
	again := time.NewTicker(pendingEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case snap = <-r.latest:
		case <-r.acked:
		case <-again.C:
		case id := <-r.failed:
			if c := r.open[id]; c != nil {
				c.sendAgain(time.Now())
			}
			continue
		}
		if snap.Settled {
			r.look(ctx, snap, time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(receiptsTogether):
		}
	}
}

// look sends the receipts that are due.
func (r *Receipts) look(ctx context.Context, snap *registry.Snapshot, now time.Time) {
	cached := make(map[string]xds.Standings)
	alive := make(map[uuid.UUID]bool, len(snap.Members))
	for _, m := range snap.Members {
		// One that is refused waits for a receipt when it leaves, like any other.
		refused := m.Quarantine != "" && !(m.Endpoint.Health == fleet.Draining && m.Endpoint.Addr.IsValid())
		if m.Role != fleet.RoleUpstream {
			continue
		}
		alive[m.ID] = true
		if refused {
			r.refuse(ctx, m, now)
			continue
		}
		c := r.claim(snap, m, now)
		if c == nil || c.done && !c.leaves {
			continue
		}
		standings, ok := cached[m.Service]
		if !ok {
			standings = r.standings(m.Service)
			cached[m.Service] = standings
		}
		r.settle(ctx, m, c, standings.At(m.Endpoint.Addr), now)
	}
	for id := range r.open {
		if !alive[id] {
			delete(r.open, id)
		}
	}
}

// claim is what m waits for, or nil when there is nothing to say: it is neither
// served nor about to leave.
func (r *Receipts) claim(snap *registry.Snapshot, m *fleet.Member, now time.Time) *claim {
	leaves := m.Endpoint.Health == fleet.Draining
	if !leaves && !snap.Serves(m) {
		return r.lost(m, now)
	}
	c := r.open[m.ID]
	if c == nil || c.leaves != leaves || c.refusal != "" {
		c = &claim{revision: m.Revision, leaves: leaves, endpoint: m.Endpoint, since: now}
		r.open[m.ID] = c
	}
	if !leaves && !c.endpoint.Equal(&m.Endpoint) {
		if c.endpoint = m.Endpoint; c.observed { // else it is one change with the one that is under way
			c.changes, c.observed, c.since = true, false, now
		}
	}
	if c.revision != m.Revision {
		c.revision, c.done = m.Revision, false
	}
	return c
}

// lost is the claim of a member that left without notice: it waits for no
// receipt, but the time is measured.
func (r *Receipts) lost(m *fleet.Member, now time.Time) *claim {
	c := r.open[m.ID]
	if c != nil && c.refusal != "" {
		delete(r.open, m.ID) // a new refusal is sent again
		return nil
	}
	if c != nil && !c.leaves {
		c = &claim{revision: m.Revision, leaves: true, since: now}
		r.open[m.ID] = c
	}
	return c
}

// settle sends the receipts that are due. Clients that connect after the last one count: a member
// that leaves may wait for those of an EDS server that was lost.
func (r *Receipts) settle(ctx context.Context, m *fleet.Member, c *claim, st xds.Standing, now time.Time) {
	receipt := fleet.Receipt{Revision: c.revision, Clients: st.Of}
	id := m.ID.String()
	switch {
	case now.Before(c.again), c.done && st.Of <= c.clients:
		return
	case c.leaves && (st.Out || st.ID != id && st.In) && st.Acked():
		receipt.State, c.done = fleet.ReceiptGone, true
	case !c.leaves && st.In && st.ID == id && st.Acked() && st.Of > 0:
		receipt.State, c.done = fleet.ReceiptServing, true
	case c.leaves && !c.done && now.Sub(c.since) >= pendingEvery && now.Sub(c.told) >= pendingEvery:
		receipt.State, receipt.Behind, c.told = fleet.ReceiptPending, strings.Join(st.Behind, ", "), now
	default:
		return
	}
	if c.done && !c.observed {
		c.observed = true
		r.observe(kindOf(m, c), now.Sub(c.since))
	}
	if c.done {
		c.clients = st.Of
	}
	r.mail(ctx, m, c, receipt)
}

// refuse notifies a member once that it is not served, and why.
func (r *Receipts) refuse(ctx context.Context, m *fleet.Member, now time.Time) {
	c := r.open[m.ID]
	if c == nil || c.refusal != m.Quarantine {
		c = &claim{revision: m.Revision, refusal: m.Quarantine, since: now}
		r.open[m.ID] = c
	}
	if !c.done && m.Liveness == fleet.Alive && now.Sub(c.since) >= refusedAfter && !now.Before(c.again) {
		c.done = true
		r.mail(ctx, m, c, fleet.Receipt{Revision: m.Revision, State: fleet.ReceiptDenied, Behind: c.refusal})
	}
}

// mail sends a receipt to a member that is there, and has it sent again if that fails.
func (r *Receipts) mail(ctx context.Context, m *fleet.Member, c *claim, receipt fleet.Receipt) {
	places := r.sending
	if m.Quarantine != "" {
		places = r.denying
	}
	if m.Liveness != fleet.Alive || !places.TryAcquire(1) {
		c.done = c.done && m.Liveness != fleet.Alive // else again, a moment later
		return
	}
	go func() {
		defer places.Release(1)
		if err := r.send(m, receipt); err != nil && ctx.Err() == nil {
			r.logger.Debug("receipt could not be sent", "id", m.ID, "err", err)
			select {
			case r.failed <- m.ID: // run never waits for a send
			case <-ctx.Done():
			}
		}
	}()
}

// sendAgain is for a send that failed. The address of a refused member is unproven:
// messages to it are rare.
func (c *claim) sendAgain(now time.Time) {
	c.done, c.again = false, now.Add(pendingEvery)
	if c.refusal != "" {
		c.again = now.Add(refusedAgain)
	}
}

// kindOf names a change for the metrics.
func kindOf(m *fleet.Member, c *claim) string {
	switch {
	case c.changes:
		return "change"
	case !c.leaves:
		return "serve"
	case m.Endpoint.Health == fleet.Draining:
		return "drain"
	default:
		return "lose"
	}
}
