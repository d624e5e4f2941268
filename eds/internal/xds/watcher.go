package xds

import (
	"cmp"
	"maps"
	"slices"
)

// watcher is the interest of one stream.
type watcher struct {
	// hasCurrent notes that the client came with the current content of names, and as of
	// which push sequence number. It is called with the cache locked.
	hasCurrent func(seq uint64, items []item)

	// advance notes that of name only the leaving endpoints have changed. It reports whether
	// the client has the content already. It is called with the cache locked. Nil for never.
	advance func(name, version string, seq uint64) bool

	// since returns what the client has acknowledged of a name. Nil for nothing.
	since func(name string) uint64

	// Owned by the stream's goroutine.
	names nameList

	// Guarded by cache.mu.
	id      uint64              // counts watchers
	all     bool                // wildcard
	stale   map[string]struct{} // changed or newly asked for since they were last sent
	due     bool                // wants an answer even when nothing is stale
	initial map[string]string   // versions that the client came with; nil once compared
	queued  bool                // notify was called and nothing collected since
	notify  func()              // called once, with the cache locked, must not block; nil while no watch is open
	opened  uint64              // counts watches, so that a late cancel does not close a later one

	// What the client came with, which may be more than is known here; see claim.
	claims   bool              // initial is believed
	claim    string            // version of all names, in state of the world; "" once it is met
	claimed  nameList          // these names
	withheld map[string]string // delta: versions of the stale names that are not sent
}

// change is what a request does to a watcher's interest.
type change struct {
	add, remove []string // an added name is sent even when nothing about it changed
	resend      []string // to be sent though the request does not add them
	all         bool     // wildcard from here on
	due         bool     // answer even with nothing

	// initial has the versions that the client says it has, by name; not kept.
	initial map[string]string

	// Only in the first request of a stream.
	claims bool   // initial may be more than is known here
	claim  string // the same of all names together, in state of the world

	// fresh: what was queued before is lost with the older watch.
	fresh bool
}

// keptStale is how large the map of stale names may stay, in names.
const keptStale = 32

func (c *cache) subscribe(w *watcher, ch change) {
	if w.id == 0 {
		c.lastID++
		w.id = c.lastID
		c.watchers[w] = struct{}{}
	}
	w.due = w.due || ch.due
	w.queued = w.queued && !ch.fresh
	if ch.initial != nil {
		w.initial, w.claims = maps.Clone(ch.initial), ch.claims
	}
	if w.claim = cmp.Or(ch.claim, w.claim); w.claim != "" && len(w.claimed) == 0 { // later names are not in that version
		w.claimed = w.names
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
		delete(w.initial, name)
		delete(w.withheld, name)
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
	for name := range w.initial {
		w.stale[name] = struct{}{}
	}
}

// mark marks name stale and appends w to touched, unless something that is not withheld
// was stale already: w is about to be notified then, or has no watch open.
func (w *watcher) mark(name string, touched []*watcher) []*watcher {
	if len(w.stale) == len(w.withheld) {
		touched = append(touched, w)
	}
	w.stale[name] = struct{}{}
	return touched
}
