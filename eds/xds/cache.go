package xds

import (
	"cmp"
	"iter"
	"maps"
	"slices"
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
	lastID   uint64 // of a watcher
	watchers map[*watcher]struct{}
	wildcard map[*watcher]struct{}
}

// entry is a name that is served or watched.
type entry struct {
	assignment *assignment // never nil
	known      bool        // in the snapshot, if only with no endpoint
	watchers   []*watcher  // sorted by id: there are many names of many, and a map takes three times the memory
}

func (e *entry) search(w *watcher) (int, bool) {
	return slices.BinarySearchFunc(e.watchers, w.id, func(w *watcher, id uint64) int { return cmp.Compare(w.id, id) })
}

// watcher is the interest of one stream.
type watcher struct {
	// hold is told, with the cache locked, that the client already has the current
	// content of names, and as of which push sequence number.
	hold func(seq uint64, held []item)

	// Owned by the stream's goroutine.
	names nameList

	// Guarded by cache.mu.
	id     uint64              // counts watchers
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

// keptStale is how large the map of stale names may stay, in names.
const keptStale = 32

func newCache() *cache {
	return &cache{
		seq: 1, entries: make(map[string]*entry),
		watchers: make(map[*watcher]struct{}), wildcard: make(map[*watcher]struct{}),
	}
}

// update makes changed current and empties the services in gone. It returns the
// push sequence number as of which they are, and those who are to be notified.
func (c *cache) update(settled bool, changed []*assignment, gone []string) (seq uint64, touched []*watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.seq
	for _, a := range changed {
		touched = c.set(a, true, before+1, touched)
	}
	for _, name := range gone {
		touched = c.set(empty(name), false, before+1, touched)
		c.prune(name)
	}
	if settled && !c.settled {
		touched = slices.Collect(maps.Keys(c.watchers))
	}
	c.settled = settled
	return c.seq, touched
}

// notify notifies those for whom there is something to collect. It holds the lock
// for one at a time: the next update does not wait for all of them.
func (c *cache) notify(touched []*watcher) {
	for _, w := range touched {
		c.encode(c.heldBy(w))
		c.notifyOne(w)
	}
}

func (c *cache) notifyOne(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.watchers[w]; open {
		c.fire(w)
	}
}

func (c *cache) heldBy(w *watcher) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(w.held))
}

// encode encodes what is current of the names that a client came with, so that
// nobody has to do so with the cache locked in order to compare it.
func (c *cache) encode(held []string) {
	if len(held) == 0 {
		return
	}
	c.mu.Lock()
	current := c.gather(held)
	c.mu.Unlock()
	for _, a := range current.assignments {
		a.encoded()
	}
}

// set replaces one assignment, marks it stale with those who watch it, and appends
// them to touched.
func (c *cache) set(a *assignment, known bool, seq uint64, touched []*watcher) []*watcher {
	e := c.entry(a.name)
	differs, discovered := !e.assignment.same(a), known && !e.known
	e.assignment, e.known = a, known
	if differs {
		c.seq = seq
		touched = mark(slices.Values(e.watchers), a.name, touched)
	}
	if differs || discovered {
		touched = mark(maps.Keys(c.wildcard), a.name, touched)
	}
	return touched
}

// mark marks name stale with the watchers and appends them to touched, but for those
// to whom something was stale already: they are about to be notified, or have no
// watch open.
func mark(watchers iter.Seq[*watcher], name string, touched []*watcher) []*watcher {
	for w := range watchers {
		if len(w.stale) == 0 {
			touched = append(touched, w)
		}
		w.stale[name] = struct{}{}
	}
	return touched
}

// watch applies a request to w and opens a watch, which calls notify once, at
// once or later. The cancel returned may be called any number of times.
func (c *cache) watch(w *watcher, ch change, notify func()) (cancel func()) {
	c.encode(slices.Collect(maps.Keys(ch.held)))
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
	if w.id == 0 {
		c.lastID++
		w.id = c.lastID
		c.watchers[w] = struct{}{}
	}
	w.due = w.due || ch.due
	w.queued = w.queued && !ch.fresh
	if ch.held != nil {
		w.held = maps.Clone(ch.held)
	}
	if len(w.stale) == 0 && len(ch.add) > keptStale { // at once of the right size
		w.stale = make(map[string]struct{}, len(ch.add))
	}
	for _, name := range ch.add {
		e := c.entry(name)
		if i, ok := e.search(w); !ok {
			e.watchers = slices.Insert(e.watchers, i, w)
		}
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
	} else if !ch.all && w.all {
		delete(c.wildcard, w)
		maps.DeleteFunc(w.stale, func(name string, _ struct{}) bool { return !w.names.has(name) })
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
	names := slices.AppendSeq(make([]string, 0, len(w.stale)), maps.Keys(w.stale))
	if full {
		for _, h := range w.names {
			if _, stale := w.stale[h.Value()]; !stale {
				names = append(names, h.Value())
			}
		}
		if w.all {
			for name, e := range c.entries {
				if _, stale := w.stale[name]; e.known && !stale && !w.names.has(name) {
					names = append(names, name)
				}
			}
		}
	}
	if len(w.stale) > keptStale { // a map never gives memory back
		w.stale = make(map[string]struct{})
	}
	clear(w.stale)
	w.due, w.queued = false, false
	return c.gather(names)
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
	for _, h := range w.names {
		c.drop(w, h.Value())
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

func (c *cache) current(name string) *assignment {
	if e := c.entries[name]; e != nil {
		return e.assignment
	}
	return empty(name)
}

func (c *cache) entry(name string) *entry {
	e := c.entries[name]
	if e == nil {
		e = &entry{assignment: empty(name)}
		c.entries[name] = e
	}
	return e
}

func (c *cache) drop(w *watcher, name string) {
	if e := c.entries[name]; e != nil {
		if i, ok := e.search(w); ok {
			e.watchers = slices.Delete(e.watchers, i, i+1)
		}
		c.prune(name)
	}
}

// prune forgets a name that is neither served nor watched.
func (c *cache) prune(name string) {
	if e := c.entries[name]; e != nil && !e.known && len(e.watchers) == 0 {
		delete(c.entries, name)
	}
}
