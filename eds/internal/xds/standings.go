package xds

import (
	"slices"
	"strings"
	"time"
	"unique"
)

// standing is what a client has acknowledged of one name. There is one for each client
// and name, so it is small: clients share the names and the versions.
type standing struct {
	name  unique.Handle[string]
	acked content // none when nothing was acknowledged
	seq   uint64  // of acked; 0 when nothing was acknowledged
}

// lastSent is what a client was sent last of one name, which most have acknowledged.
type lastSent struct {
	content
	waits int64 // Unix time in ns since when something sent has not been acknowledged; 0 when all has
}

// unacked is what was sent and not acknowledged, by name. The zero value has none.
type unacked map[unique.Handle[string]]lastSent

// of returns what was sent of the name that st is about.
func (u unacked) of(st *standing) lastSent {
	if s, ok := u[st.name]; ok {
		return s
	}
	return lastSent{content: st.acked}
}

// note notes what was sent of the name that st is about.
func (u *unacked) note(st *standing, s lastSent) {
	if s != (lastSent{content: st.acked}) {
		if *u == nil {
			*u = make(unacked)
		}
		(*u)[st.name] = s
		return
	}
	u.forget(st.name)
}

func (u *unacked) forget(name unique.Handle[string]) {
	if delete(*u, name); len(*u) == 0 {
		*u = nil // a map never frees its memory
	}
}

// content is the version of an assignment, or none.
type content struct{ unique.Handle[string] }

func contentOf(v string) content {
	if v == "" {
		return content{}
	}
	return content{unique.Make(v)}
}

func (v content) String() string {
	if v == (content{}) {
		return ""
	}
	return v.Value()
}

func (s standing) view(sent lastSent) ClientService {
	v := ClientService{Name: s.name.Value(), Sent: sent.String(), Acked: s.acked.String(), AckedSeq: s.seq}
	if sent.waits != 0 {
		v.BehindSince = time.Unix(0, sent.waits)
	}
	return v
}

// standings are those of one client, sorted by name. They are bounded: a wildcard client
// receives every name that ever existed.
type standings []standing

func (s standings) search(name string) (int, bool) {
	return slices.BinarySearchFunc(s, name, func(st standing, name string) int { return strings.Compare(st.name.Value(), name) })
}

// find returns the standing of name, nil when there is none. The pointer is valid until
// the next change.
func (s standings) find(name string) *standing {
	if i, ok := s.search(name); ok {
		return &s[i]
	}
	return nil
}

// put is find, and adds a missing standing; nil when there are most already.
func (s *standings) put(name string, most int) *standing {
	i, ok := s.search(name)
	if !ok {
		if len(*s) >= most {
			return nil
		}
		*s = slices.Insert(*s, i, standing{name: unique.Make(name)})
	}
	return &(*s)[i]
}

// add adds missing standings, up to most of them.
func (s *standings) add(names []string, most int) {
	fresh := make([]standing, 0, len(names))
	for _, name := range names {
		if _, ok := s.search(name); !ok {
			fresh = append(fresh, standing{name: unique.Make(name)})
		}
	}
	byName := func(a, b standing) int { return strings.Compare(a.name.Value(), b.name.Value()) }
	slices.SortFunc(fresh, byName)
	fresh = slices.CompactFunc(fresh, func(a, b standing) bool { return a.name == b.name })
	fresh = fresh[:min(len(fresh), max(most-len(*s), 0))]
	if len(fresh) > 0 {
		*s = slices.Concat(*s, fresh) // of the right size: most clients ask for all at once
		slices.SortFunc(*s, byName)
	}
}

// remove forgets names.
func (s *standings) remove(names []string) {
	if len(names) == 0 {
		return
	}
	gone := setOf(names)
	*s = slices.DeleteFunc(*s, func(st standing) bool { return gone[st.name.Value()] })
}
