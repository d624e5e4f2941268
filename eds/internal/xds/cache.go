package xds

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// cache holds the current assignments and knows who asked for which. A change
// touches only the watchers of that name: it marks the name stale with each, and
// a watcher collects what is current when its stream is ready for it. So no
// stream waits for a slow one, and what is skipped costs nothing.
//
// It takes the place of go-control-plane's cachev3.Cache; that package's own caches
// either loop on a NACK or encode again for each stream.
type cache struct {
	mu       sync.Mutex // guards what follows and the marked fields of watchers; held for no I/O
	settled  bool
	seq      uint64 // counts updates that changed something; 1 before the first one
	entries  map[string]*entry
	lastID   uint64 // of a watcher
	watchers map[*watcher]struct{}
	wildcard map[*watcher]struct{}
	claims   claims
}

// entry is a name that is served or watched.
type entry struct {
	current  *resource  // never nil
	known    bool       // in the snapshot, if only with no endpoint
	watchers []*watcher // sorted by id: there are many names of many, and a map takes three times the memory
}

func (e *entry) search(w *watcher) (int, bool) {
	return slices.BinarySearchFunc(e.watchers, w.id, func(w *watcher, id uint64) int { return cmp.Compare(w.id, id) })
}

func newCache() *cache {
	return &cache{
		seq: 1, entries: make(map[string]*entry),
		watchers: make(map[*watcher]struct{}), wildcard: make(map[*watcher]struct{}),
		claims: claims{known: newKnowledge(nil), waiting: make(map[*watcher]struct{}), polls: make(map[string]claim)},
	}
}

// next is the sequence number that the next update will have, if it changes anything. That
// is certain only for a caller that keeps others from calling update.
func (c *cache) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq + 1
}

// update makes changed current and empties the services in gone. It returns the
// push sequence number as of which they are, and those who are to be notified.
func (c *cache) update(settled bool, changed []*resource, gone []string) (seq uint64, touched []*watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.seq
	for _, r := range changed {
		touched = c.set(r, true, before+1, touched)
	}
	for _, name := range gone {
		touched = c.set(nothing(name), false, before+1, touched)
		c.prune(name)
	}
	if settled && !c.settled {
		touched = slices.Collect(maps.Keys(c.watchers))
	}
	c.settled = settled
	return c.seq, touched
}

// notify notifies the watchers that have something to collect. It holds the lock
// for one at a time: the next update does not wait for all of them.
func (c *cache) notify(touched []*watcher) {
	for _, w := range touched {
		c.encode(c.initialNames(w))
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

func (c *cache) initialNames(w *watcher) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := slices.AppendSeq(slices.Collect(maps.Keys(w.initial)), maps.Keys(w.withheld))
	if len(w.claimed) == 1 {
		names = append(names, w.claimed[0].Value())
	}
	return names
}

// encode encodes what is current of the names that a client came with, so that comparing
// it with the cache locked does not have to.
func (c *cache) encode(names []string) {
	if len(names) == 0 {
		return
	}
	for _, r := range c.gathered(names).resources {
		r.encoded()
	}
}

// gathered is gather for callers that have not locked the cache.
func (c *cache) gathered(names []string) push {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gather(names)
}

// set replaces one resource, marks it stale with those who watch it, and appends
// them to touched. Where only the leaving endpoints have changed, streams that
// have the content are not marked.
func (c *cache) set(r *resource, known bool, seq uint64, touched []*watcher) []*watcher {
	e := c.entry(r.name)
	differs, discovered := !e.current.same(r), known && !e.known
	sent := r.assignment == e.current.assignment && r.done.Load()
	e.current, e.known = r, known
	mark := func(watchers iter.Seq[*watcher]) {
		for w := range watchers {
			if sent && w.advance != nil && w.advance(r.name, r.version(), seq) {
				continue
			}
			touched = w.mark(r.name, touched)
		}
	}
	if differs {
		c.seq = seq
		mark(slices.Values(e.watchers))
	}
	if differs || discovered {
		mark(maps.Keys(c.wildcard))
	}
	return touched
}

// watch applies a request to w and opens a watch, which calls notify once, at
// once or later. The cancel returned may be called any number of times.
func (c *cache) watch(w *watcher, ch change, notify func()) (cancel func()) {
	c.encode(slices.Collect(maps.Keys(ch.initial)))
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

// fire notifies w if its watch is open and there is something to collect. Until
// the pool has settled there never is.
func (c *cache) fire(w *watcher) {
	if !c.settled || w.notify == nil {
		return
	}
	now := time.Now()
	if c.holdBack(w, now) {
		return
	}
	c.compareHeld(w, now)
	if !w.queued && !w.due && len(w.stale) == len(w.withheld) {
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
// current content, and withholds those of which it has more than is known.
func (c *cache) compareHeld(w *watcher, now time.Time) {
	if len(w.initial)+len(w.withheld) == 0 {
		return
	}
	var held []item
	withheld := make(map[string]string)
	for name, version := range both(w.initial, w.withheld) {
		switch _, stale := w.stale[name]; {
		case !stale:
		case c.holdBackName(w, name, version, now):
			withheld[name] = version
		case c.current(name).version() == version:
			delete(w.stale, name)
			held = append(held, item{name: name, version: version})
		}
	}
	w.initial, w.withheld = nil, nil
	if len(withheld) > 0 {
		w.withheld = withheld
		c.await(w)
	}
	if len(held) > 0 {
		w.hasCurrent(c.seq, held)
	}
}

// both walks over two maps.
func both(a, b map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, m := range []map[string]string{a, b} {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// collect takes what is stale, or with full everything that w asked for. Only
// the goroutine of w's stream may call it.
func (c *cache) collect(w *watcher, full bool) push {
	p := c.take(w, full)
	p.choose(func(r *resource) *assignment {
		if w.since == nil || len(r.leaving) == 0 {
			return r.after(0)
		}
		return r.after(w.since(r.name))
	})
	return p
}

func (c *cache) take(w *watcher, full bool) push {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(w.stale))
	for name := range w.stale {
		if _, withheld := w.withheld[name]; !withheld {
			names = append(names, name)
		}
	}
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
	if len(w.stale) > keptStale { // a map never frees its memory
		w.stale = make(map[string]struct{})
	}
	clear(w.stale)
	for name := range w.withheld {
		w.stale[name] = struct{}{}
	}
	w.due, w.queued = false, false
	return c.gather(names)
}

// lookup returns the current assignments of names, and whether they may be sent to a
// client that claims to have a version; "" for none.
func (c *cache) lookup(names []string, claim string) (push, bool) {
	p, settled := c.find(names, claim)
	if settled {
		p.choose(func(r *resource) *assignment { return r.assignment })
	}
	return p, settled
}

func (c *cache) find(names []string, claim string) (push, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled || c.holdBackPoll(names, claim, time.Now()) {
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
	delete(c.claims.waiting, w)
}

// gather returns what is current of names, without assignments.
func (c *cache) gather(names []string) push {
	p := push{seq: c.seq, resources: make([]*resource, len(names))}
	for i, name := range names {
		p.resources[i] = c.current(name)
	}
	return p
}

// leaving returns those of the items that have a leaving endpoint.
func (c *cache) leaving(items []item) (some []*resource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range items {
		if e := c.entries[i.name]; e != nil && len(e.current.leaving) > 0 {
			some = append(some, e.current)
		}
	}
	return some
}

func (c *cache) current(name string) *resource {
	if e := c.entries[name]; e != nil {
		return e.current
	}
	return nothing(name)
}

func (c *cache) entry(name string) *entry {
	e := c.entries[name]
	if e == nil {
		e = &entry{current: nothing(name)}
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
