package events

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

// DefaultMaxReaders is how many may read unless Options say otherwise.
const DefaultMaxReaders = 256

// The bounds of a Hub.
const (
	Kept         = 4096        // events for those that come back, or fall behind
	atOnce       = 256         // events that a reader takes in one go
	clientsEvery = time.Second // is looked who came and went
)

// The errors of Subscribe and Take.
var (
	ErrFull   = errors.New("too many readers of events")
	ErrClosed = errors.New("the server is stopping")
	ErrSlow   = errors.New("the reader was too slow")
)

// Options are where a Hub looks.
type Options struct {
	Overrides func() ([]override.Override, uint64)      // in force, sorted by key, and their revision
	Clients   func(known uint64) ([]xds.Client, uint64) // see xds.Server.Connected

	MaxReaders int // 0 stands for DefaultMaxReaders
}

// Hub keeps the latest events and hands them to readers. Its methods may be called
// from any goroutine, but for Run, which has one owner, and Update.
type Hub struct {
	Options
	epoch  string // in each id: those of another process mean nothing here
	latest latest.Value[*registry.Snapshot]
	done   chan struct{} // closed by Close

	// Owned by Run.
	snap      *registry.Snapshot
	overrides []override.Override
	revision  uint64
	clients   []xds.Client
	connected uint64 // revision of clients

	mu      sync.Mutex // guards what follows
	ring    []Event    // the latest; event n is at (n-1) % Kept
	last    uint64     // number of the latest event; the first is 1
	readers map[*Reader]struct{}
	closed  bool
}

// New returns a Hub that has seen nothing.
func New(opts Options) *Hub {
	return &Hub{
		Options: opts, epoch: strings.ReplaceAll(uuid.NewString(), "-", "")[:16], latest: latest.New[*registry.Snapshot](),
		done: make(chan struct{}), snap: &registry.Snapshot{}, readers: make(map[*Reader]struct{}),
	}
}

// Update hands over a Snapshot. It never blocks; it has one caller at a time.
func (h *Hub) Update(snap *registry.Snapshot) {
	h.latest.Put(snap)
}

// Run looks for changes until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	defer h.Close()
	tick := time.NewTicker(clientsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case snap := <-h.latest:
			h.add(append(h.decided(), diffSnapshots(h.snap, snap)...))
			h.snap = snap
		case <-tick.C:
			h.look()
		}
	}
}

// look finds which clients connected, left or rejected something. Where these are very
// many, as after a start, and there is no reader, they must not push out other events.
func (h *Hub) look() {
	list, revision := h.Clients(h.connected)
	if revision == h.connected {
		return
	}
	slices.SortFunc(list, func(a, b xds.Client) int { return compareClients(&a, &b) })
	facts := diffClients(h.clients, list)
	h.clients, h.connected = list, revision
	if len(facts) <= Kept/4 || h.Readers() > 0 {
		h.add(facts)
	}
}

// decided lists the overrides that changed since it was last called.
func (h *Hub) decided() []fact {
	list, revision := h.Overrides()
	if revision == h.revision {
		return nil
	}
	facts := diffOverrides(h.overrides, list, time.Now())
	h.overrides, h.revision = list, revision
	return facts
}

// Readers is how many there are.
func (h *Hub) Readers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}

// add gives facts a place in the order of events.
func (h *Hub) add(facts []fact) {
	if len(facts) == 0 {
		return
	}
	made := make([]Event, len(facts))
	for i, f := range facts {
		data, err := json.Marshal(f.data)
		if err != nil { // structs of plain values always encode
			data = []byte("{}")
		}
		made[i] = Event{Kind: f.kind, Data: data}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range made {
		h.last++
		e.ID = h.id(h.last)
		if len(h.ring) < Kept {
			h.ring = append(h.ring, e)
		} else {
			h.ring[(h.last-1)%Kept] = e
		}
	}
	for r := range h.readers {
		r.wake()
	}
}

func (h *Hub) id(n uint64) string { return fmt.Sprintf("%s-%d", h.epoch, n) }

// place is the number of the event with an id of this Hub that is not too old.
func (h *Hub) place(id string) (uint64, bool) {
	epoch, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || epoch != h.epoch || n > h.last || n+uint64(len(h.ring)) < h.last {
		return 0, false
	}
	return n, true
}

// Subscribe returns a Reader of what happens after the event with this id, or from
// now on if it is "". Where the id is not known any more, Reset comes first. The
// error is ErrFull or ErrClosed.
func (h *Hub) Subscribe(lastID string) (*Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.readers) >= cmp.Or(h.MaxReaders, DefaultMaxReaders):
		return nil, ErrFull
	}
	r := &Reader{hub: h, next: h.last, more: latest.NewSignal()}
	if lastID != "" {
		n, known := h.place(lastID)
		if r.reset = !known; known {
			r.next = n
		}
		r.wake()
	}
	h.readers[r] = struct{}{}
	return r, nil
}

// Close ends all readers, and Subscribe fails from then on.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

// Reader receives events. It is used from one goroutine. What it has not taken
// stays in the Hub's ring: a slow Reader delays no other.
type Reader struct {
	hub  *Hub
	more latest.Signal

	// Guarded by hub.mu.
	next  uint64 // number of the event taken last
	reset bool
}

// More receives when there may be something to take.
func (r *Reader) More() <-chan struct{} { return r.more }

// Done is closed when the Hub is.
func (r *Reader) Done() <-chan struct{} { return r.hub.done }

// Take returns what happened since it was last called, some of it if it is much;
// More then receives again. It returns ErrSlow when that is not known any more.
func (r *Reader) Take() ([]Event, error) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.reset {
		r.reset = false
		if r.next < h.last {
			r.wake()
		}
		return []Event{{ID: h.id(r.next), Kind: Reset, Data: []byte("{}")}}, nil
	}
	behind := h.last - r.next
	if behind > uint64(len(h.ring)) {
		return nil, ErrSlow
	}
	taken := make([]Event, min(behind, atOnce))
	for i := range taken {
		taken[i] = h.ring[r.next%Kept]
		r.next++
	}
	if r.next < h.last {
		r.wake()
	}
	return taken, nil
}

// Close ends r; the Hub forgets it.
func (r *Reader) Close() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	delete(r.hub.readers, r)
}

func (r *Reader) wake() {
	r.more.Set()
}
