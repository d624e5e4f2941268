// Package budget bounds what connections may cost before they have shown whose they are.
package budget

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Budget is a bounded amount that connections share. Who finds no room waits. Addresses take turns, and one address has at
// most a quarter of the whole at a time, or one share that is larger; this machine's own
// is not limited. Any goroutine may call its methods.
type Budget struct {
	Options

	mu     sync.Mutex
	used   int64
	by     map[netip.Addr]int64
	queues map[netip.Addr][]*turn
	order  []netip.Addr // those with a queue, the next one first
	queued int
}

// turn is one that waits.
type turn struct {
	n     int64
	given chan struct{} // closed once it has its share
}

// The reasons for which Take gives nothing.
var (
	ErrFull     = errors.New("too many connections are waiting")
	ErrOverdue  = errors.New("timed out waiting for room in the budget")
	ErrTooLarge = errors.New("message is larger than the whole budget")
)

// Options configure a Budget.
type Options struct {
	Total   int64
	Waiting int           // who may wait at once,
	Each    int           // and how many of one address; 0: as many
	Most    time.Duration // for how long
}

// New returns a budget of which nothing is taken.
func New(o Options) *Budget {
	o.Each = cmp.Or(o.Each, o.Waiting)
	return &Budget{Options: o, by: make(map[netip.Addr]int64), queues: make(map[netip.Addr][]*turn)}
}

// Take returns once n was given to the party, which gives it back.
func (b *Budget) Take(ctx context.Context, party netip.Addr, n int64) error {
	b.mu.Lock()
	switch {
	case n > b.Total:
		b.mu.Unlock()
		return ErrTooLarge
	case b.queued >= b.Waiting, !unlimited(party) && len(b.queues[party]) >= b.Each:
		b.mu.Unlock()
		return ErrFull
	}
	t := &turn{n: n, given: make(chan struct{})}
	if len(b.queues[party]) == 0 {
		b.order = append(b.order, party)
	}
	b.queues[party] = append(b.queues[party], t)
	b.queued++
	b.serve()
	b.mu.Unlock()
	timer := time.NewTimer(b.Most)
	defer timer.Stop()
	select {
	case <-t.given:
		return nil
	case <-timer.C:
		return b.leave(party, t, ErrOverdue)
	case <-ctx.Done():
		return b.leave(party, t, ctx.Err())
	}
}

// leave withdraws a request, unless it was granted just now.
func (b *Budget) leave(party netip.Addr, t *turn, why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.queues[party], t)
	if i < 0 {
		return nil
	}
	b.drop(party, i)
	b.serve() // it may have held up others
	return why
}

// Give gives n back.
func (b *Budget) Give(party netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.by[party] -= n; b.by[party] == 0 {
		delete(b.by, party)
	}
	b.serve()
}

// serve gives what there is. One that is next and finds too little keeps what becomes free for
// itself, so that the small ones do not starve the large. The caller holds mu.
func (b *Budget) serve() {
	for i := 0; i < len(b.order); {
		party := b.order[i]
		t := b.queues[party][0]
		switch {
		case !b.mayHave(party, t.n):
			i++
		case b.used+t.n > b.Total:
			return
		default:
			b.used += t.n
			b.by[party] += t.n
			b.drop(party, 0)
			if len(b.queues[party]) > 0 { // it is another party's turn
				j := slices.Index(b.order, party)
				b.order = append(slices.Delete(b.order, j, j+1), party)
			}
			close(t.given)
			i = 0
		}
	}
}

// mayHave reports whether the party's own share has room for n. The caller holds mu.
func (b *Budget) mayHave(party netip.Addr, n int64) bool {
	return unlimited(party) || b.by[party] == 0 || b.by[party]+n <= b.Total/4
}

// unlimited reports whether a party is this machine, or none that is known.
func unlimited(party netip.Addr) bool { return party.IsLoopback() || !party.IsValid() }

// drop removes a wish. The caller holds mu.
func (b *Budget) drop(party netip.Addr, i int) {
	b.queued--
	if b.queues[party] = slices.Delete(b.queues[party], i, i+1); len(b.queues[party]) == 0 {
		delete(b.queues, party)
		j := slices.Index(b.order, party)
		b.order = slices.Delete(b.order, j, j+1)
	}
}
