package xds

import (
	"slices"
	"strings"
	"sync"
	"unique"
)

// subscription is what a stream asks for, by the rules of the protocol: a request
// without names asks for nothing, only "*" is the wildcard. (Only for listeners and
// clusters an empty request means everything.) go-control-plane would keep a map, seven
// times as large, and make a new one with each request in state of the world; so it is
// not given the names.
type subscription struct {
	names nameList
	all   bool // wildcard
}

// empty reports whether nothing is asked for.
func (s *subscription) empty() bool { return !s.all && len(s.names) == 0 }

// of returns those of names that are asked for.
func (s *subscription) of(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !s.all && !s.names.has(name) })
}

// nameList is sorted. Clients share the names.
type nameList []unique.Handle[string]

func (l nameList) search(name string) (int, bool) {
	return slices.BinarySearchFunc(l, name, func(h unique.Handle[string], name string) int { return strings.Compare(h.Value(), name) })
}

// size is how many bytes the names have.
func (l nameList) size() (n int) {
	for _, h := range l {
		n += len(h.Value())
	}
	return n
}

func (l nameList) has(name string) bool {
	_, ok := l.search(name)
	return ok
}

// listOf lists names, but for the wildcard.
func listOf(names []string) nameList {
	l := make(nameList, 0, len(names))
	for _, name := range names {
		if name != wildcardName {
			l = append(l, unique.Make(name))
		}
	}
	l.sort()
	return slices.Compact(l)
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func (l nameList) sort() {
	slices.SortFunc(l, func(a, b unique.Handle[string]) int { return strings.Compare(a.Value(), b.Value()) })
}

// minus returns what is in l and not in other.
func (l nameList) minus(other nameList) (names []string) {
	for _, h := range l {
		for len(other) > 0 && other[0] != h && other[0].Value() < h.Value() {
			other = other[1:]
		}
		if len(other) == 0 || other[0] != h {
			names = append(names, h.Value())
		}
	}
	return names
}

// asked is what one request asks for.
type asked struct {
	names   []string
	dropped []string          // delta: no longer asked for
	initial map[string]string // delta: versions by name, in a first request
	finish  []string          // to be sent again, see stream.finish
	again   bool              // state of the world: the client waits for an answer, even if nothing has changed
}

// set replaces all names, as a request in state of the world does.
func (s *subscription) set(names []string) {
	s.all = slices.Contains(names, wildcardName)
	s.names = listOf(names)
}

// change adds names and then removes some, as a delta request does.
func (s *subscription) change(add, remove []string) {
	s.all = (s.all || slices.Contains(add, wildcardName)) && !slices.Contains(remove, wildcardName)
	s.names = s.names.with(listOf(add))
	if len(remove) > 0 {
		gone := setOf(remove)
		s.names = slices.DeleteFunc(slices.Clone(s.names), func(h unique.Handle[string]) bool { return gone[h.Value()] })
	}
}

// with returns a list with the names of both.
func (l nameList) with(other nameList) nameList {
	switch {
	case len(other) == 0: // an ACK names nothing
		return l
	case len(l) == 0: // most clients ask for all at once
		return other
	}
	both := slices.Concat(l, other)
	both.sort()
	return slices.Compact(both)
}

// lastList is the latest list of any stream. Most Envoys of a fleet ask for the same
// names, so that most share one list.
type lastList struct {
	mu   sync.Mutex
	list nameList
}

// shared returns a list with the names of l.
func (s *lastList) shared(l nameList) nameList {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.list, l) {
		s.list = l
	}
	return s.list
}
