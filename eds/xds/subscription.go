package xds

import (
	"slices"
	"strings"
	"unique"
)

// subscription is what a stream asks for, by the rules of the protocol. What
// go-control-plane keeps of it is a map, seven times as large, and a new one with each
// request in state of the world: it is not told the names.
type subscription struct {
	names nameList
	all   bool // wildcard
	named bool // something was asked for: an empty request is no wildcard any more
}

// nameList is sorted. Clients share the names.
type nameList []unique.Handle[string]

func (l nameList) search(name string) (int, bool) {
	return slices.BinarySearchFunc(l, name, func(h unique.Handle[string], name string) int { return strings.Compare(h.Value(), name) })
}

func (l nameList) has(name string) bool {
	_, ok := l.search(name)
	return ok
}

func listOf(names []string) nameList {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	l := make(nameList, len(names))
	for i, name := range names {
		l[i] = unique.Make(name)
	}
	return l
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
	held    map[string]string // delta: versions by name, in a first request
}

// set makes these the names, all of them, as a request in state of the world does.
func (s *subscription) set(names []string) {
	if s.all = len(names) == 0 && !s.named; s.all {
		return
	}
	s.named, s.all = true, slices.Contains(names, wildcardName)
	s.names = listOf(slices.DeleteFunc(slices.Clone(names), isWildcard))
}

// change adds names and then removes some, as a delta request does.
func (s *subscription) change(add, remove []string) {
	if len(add) == 0 && !s.named {
		s.all = true
		return
	}
	s.named = true
	s.all = (s.all || slices.Contains(add, wildcardName)) && !slices.Contains(remove, wildcardName)
	if fresh := listOf(slices.DeleteFunc(slices.Clone(add), func(n string) bool { return isWildcard(n) || s.names.has(n) })); len(fresh) > 0 {
		s.names = slices.Concat(s.names, fresh) // of the right size: most clients ask for all at once
		slices.SortFunc(s.names, func(a, b unique.Handle[string]) int { return strings.Compare(a.Value(), b.Value()) })
	}
	if gone := listOf(remove); len(gone) > 0 {
		s.names = slices.DeleteFunc(slices.Clone(s.names), func(h unique.Handle[string]) bool { return gone.has(h.Value()) })
	}
}

func isWildcard(name string) bool { return name == wildcardName }
