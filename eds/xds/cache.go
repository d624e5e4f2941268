package xds

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// cache holds the current assignments and knows who asked for which. A change
// touches only the watchers of that name: it marks the name stale with each, and
// a watcher collects what is current when its stream is ready for it. So nobody
// waits for a slow stream, and what is skipped costs nothing.
//
// It plays the part of go-control-plane's cachev3.Cache; that package's own
// caches either loop on a NACK or encode anew for each stream.
type cache struct {
	mu       sync.Mutex // guards what follows and the marked fields of watchers; held for no I/O
	settled  bool
	seq      uint64 // counts updates that changed something; 1 before the first one
	entries  map[string]*entry
	watchers map[*watcher]struct{}
	wildcard map[*watcher]struct{}
}

// entry is a name that is served or watched.
type entry struct {
	assignment *assignment // never nil
	known      bool        // in the snapshot, if only with no endpoint
	watchers   map[*watcher]struct{}
}

// watcher is the interest of one stream.
type watcher struct {
	// hold is told, with the cache locked, that the client already has the current
	// content of names, and as of which push sequence number.
	hold func(seq uint64, held []item)

	// Owned by the stream's goroutine.
	names map[string]struct{}

	// Guarded by cache.mu.
	all    bool                // wildcard
	stale  map[string]struct{} // changed or newly asked for since they were last sent
	due    bool                // wants an answer even when nothing is stale
	held   map[string]string   // versions that the client came with; nil once compared
	queued bool                // notify was called and nothing collected since
	notify func()              // called once, with the cache locked, must not block; nil while no watch is open
	opened uint64              // counts watches, so that a late cancel does not close a later one
}

// change is what a request does to a watcher's interest.
type change struct {
	add, remove []string // an added name is sent even when nothing about it changed
	resend      []string // to be sent though nobody asks for them by name
	all         bool     // wildcard from here on
	due         bool     // answer even if that is with nothing

	// held are the versions that the client says it has; not kept.
	held map[string]string

	// fresh says that what was queued before is lost with the older watch.
	fresh bool
}

// push is what one response carries.
type push struct {
	seq         uint64 // of the cache when it was collected
	version     string // derived from assignments alone
	assignments []*assignment
}

func newCache() *cache {
	return &cache{
		seq: 1, entries: make(map[string]*entry),
		watchers: make(map[*watcher]struct{}), wildcard: make(map[*watcher]struct{}),
	}
}

// update makes changed current and empties the services in gone. It returns the
// push sequence number as of which they are.
func (c *cache) update(settled bool, changed []*assignment, gone []string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	touched := make(map[*watcher]struct{})
	before := c.seq
	for _, a := range changed {
		c.set(a, true, before+1, touched)
	}
	for _, name := range gone {
		c.set(empty(name), false, before+1, touched)
		c.prune(name)
	}
	if settled && !c.settled {
		touched = c.watchers
	}
	c.settled = settled
	for w := range touched {
		c.fire(w)
	}
	return c.seq
}

// set replaces one assignment and marks it stale with those who watch it.
func (c *cache) set(a *assignment, known bool, seq uint64, touched map[*watcher]struct{}) {
	e := c.entry(a.name)
	differs, discovered := !e.assignment.same(a), known && !e.known
	e.assignment, e.known = a, known
	if differs {
		c.seq = seq
		mark(e.watchers, a.name, touched)
	}
	if differs || discovered {
		mark(c.wildcard, a.name, touched)
	}
}

func mark(watchers map[*watcher]struct{}, name string, touched map[*watcher]struct{}) {
	for w := range watchers {
		w.stale[name] = struct{}{}
		touched[w] = struct{}{}
	}
}

// watch applies a request to w and opens a watch, which calls notify once, at
// once or later. The cancel returned may be called any number of times.
func (c *cache) watch(w *watcher, ch change, notify func()) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribe(w, ch)
	w.opened++
	w.notify = notify
	c.fire(w)
	opened := w.opened
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.opened == opened {
			w.notify = nil
		}
	}
}

func (c *cache) subscribe(w *watcher, ch change) {
	c.watchers[w] = struct{}{}
	w.due = w.due || ch.due
	w.queued = w.queued && !ch.fresh
	if ch.held != nil {
		w.held = maps.Clone(ch.held)
	}
	for _, name := range ch.add {
		c.entry(name).watchers[w] = struct{}{}
		w.stale[name] = struct{}{}
	}
	for _, name := range ch.remove {
		delete(w.stale, name)
		c.drop(w, name)
	}
	for _, name := range ch.resend {
		w.stale[name] = struct{}{}
	}
	if ch.all && !w.all {
		c.wildcard[w] = struct{}{}
		c.markKnown(w)
	} else if !ch.all {
		delete(c.wildcard, w)
	}
	w.all = ch.all
}

// markKnown makes stale what a new wildcard watcher has to learn: all known
// services, and those that it came with and that are gone.
func (c *cache) markKnown(w *watcher) {
	for name, e := range c.entries {
		if e.known {
			w.stale[name] = struct{}{}
		}
	}
	for name := range w.held {
		w.stale[name] = struct{}{}
	}
}

// fire notifies w if its watch is open and there is something to collect. Until
// the pool has settled there never is.
func (c *cache) fire(w *watcher) {
	if !c.settled || w.notify == nil {
		return
	}
	c.compareHeld(w)
	if !w.queued && !w.due && len(w.stale) == 0 {
		return
	}
	notify := w.notify
	w.notify = nil
	if !w.queued {
		w.queued = true
		notify()
	}
}

// compareHeld takes off the stale names those that the client came with in their
// current content.
func (c *cache) compareHeld(w *watcher) {
	var held []item
	for name, version := range w.held {
		if _, stale := w.stale[name]; stale && c.current(name).version() == version {
			delete(w.stale, name)
			held = append(held, item{name, version})
		}
	}
	w.held = nil
	if len(held) > 0 {
		w.hold(c.seq, held)
	}
}

// collect takes what is stale, or with full everything that w asked for. Only
// the goroutine of w's stream may call it.
func (c *cache) collect(w *watcher, full bool) push {
	p := c.take(w, full)
	p.seal()
	return p
}

func (c *cache) take(w *watcher, full bool) push {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make(map[string]struct{}, len(w.stale))
	maps.Copy(names, w.stale)
	if full {
		maps.Copy(names, w.names)
		if w.all {
			for name, e := range c.entries {
				if e.known {
					names[name] = struct{}{}
				}
			}
		}
	}
	clear(w.stale)
	w.due, w.queued = false, false
	return c.gather(slices.Collect(maps.Keys(names)))
}

// lookup returns the current assignments of names, and whether they may be told.
func (c *cache) lookup(names []string) (push, bool) {
	p, settled := c.find(names)
	if settled {
		p.seal()
	}
	return p, settled
}

func (c *cache) find(names []string) (push, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled {
		return push{}, false
	}
	return c.gather(names), true
}

// forget ends w. Only the goroutine of w's stream may call it.
func (c *cache) forget(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.notify = nil
	for name := range w.names {
		c.drop(w, name)
	}
	delete(c.watchers, w)
	delete(c.wildcard, w)
}

// gather returns the current assignments, without a version.
func (c *cache) gather(names []string) push {
	p := push{seq: c.seq, assignments: make([]*assignment, len(names))}
	for i, name := range names {
		p.assignments[i] = c.current(name)
	}
	return p
}

// seal sorts the assignments by name, encodes those that nobody has, and gives p
// its version. It is not called with the cache locked.
func (p *push) seal() {
	slices.SortFunc(p.assignments, func(a, b *assignment) int { return strings.Compare(a.name, b.name) })
	p.version = combinedVersion(p.assignments)
}

// err returns why something could not be encoded.
func (p push) err() error {
	for _, a := range p.assignments {
		if a.err != nil {
			return a.err
		}
	}
	return nil
}

// combinedVersion names the content of several assignments. That of one is its
// own, so that an operator sees the same version on every transport.
func combinedVersion(as []*assignment) string {
	if len(as) == 1 {
		return as[0].version()
	}
	var b strings.Builder
	for _, a := range as { // the version is of fixed length and covers the name
		b.WriteString(a.version())
	}
	return contentVersion([]byte(b.String()))
}

func (c *cache) current(name string) *assignment {
	if e := c.entries[name]; e != nil {
		return e.assignment
	}
	return empty(name)
}

func (c *cache) entry(name string) *entry {
	e := c.entries[name]
	if e == nil {
		e = &entry{assignment: empty(name), watchers: make(map[*watcher]struct{})}
		c.entries[name] = e
	}
	return e
}

func (c *cache) drop(w *watcher, name string) {
	if e := c.entries[name]; e != nil {
		delete(e.watchers, w)
		c.prune(name)
	}
}

// prune forgets a name that is neither served nor watched.
func (c *cache) prune(name string) {
	if e := c.entries[name]; e != nil && !e.known && len(e.watchers) == 0 {
		delete(c.entries, name)
	}
}
