package xds

import (
	"maps"
	"net/netip"
	"slices"
	"sort"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// maxPlaces bounds how many addresses that are no longer served a service remembers.
const maxPlaces = 10_000

// place is what the last push said of an address.
type place struct {
	id   string         // of the process at the address; "" for none, and for a manual endpoint
	host *registry.Host // in the assignment and not leaving; else nil
	out  bool           // not in it at all
	seq  uint64         // of the push that said so
}

func (p place) same(o place) bool {
	return p.id == o.id && p.out == o.out && (p.host == o.host ||
		p.host != nil && o.host != nil && sameHost(p.host, o.host))
}

// book is what the last pushes of one service said of each address: of those in the
// assignment, and of those that left it lately.
type book struct {
	places map[netip.AddrPort]place
	last   uint64 // the last push that changed a place
}

// note updates the book of a service after a push. The caller holds mu.
func (s *Server) note(sv *serving, seq uint64) {
	b := s.books[sv.name]
	if b == nil {
		b = &book{places: make(map[netip.AddrPort]place)}
		s.books[sv.name] = b
	}
	b.note(sv, seq)
	if _, served := s.services[sv.name]; served {
		delete(s.closing, sv.name)
	} else {
		s.closing[sv.name] = b
	}
}

func (b *book) note(sv *serving, seq uint64) {
	leaving := make(map[netip.AddrPort]string, len(sv.leaving))
	for _, d := range sv.leaving {
		leaving[d.Addr] = d.ID
	}
	for _, addr := range sv.moved {
		now := place{out: true}
		if h := find(sv.wanted, addr); h != nil {
			now = place{id: h.ID, host: h}
		} else if id, ok := leaving[addr]; ok {
			now = place{id: id}
		}
		was, known := b.places[addr]
		if now.out && !known || known && was.same(now) {
			continue
		}
		now.seq, b.last = seq, seq
		b.places[addr] = now
	}
	sv.moved = nil
	if len(b.places) > len(sv.wanted)+len(sv.leaving)+maxPlaces { // the oldest have been acknowledged long ago
		maps.DeleteFunc(b.places, func(_ netip.AddrPort, p place) bool { return p.out })
	}
}

// tidyBooks forgets services that no longer exist, once all streams have acknowledged
// that. The caller holds mu.
func (s *Server) tidyBooks() {
	if len(s.closing) == 0 {
		return
	}
	acked := s.clients.acked(slices.Collect(maps.Keys(s.closing)))
	for name, b := range s.closing {
		if acked[name] >= b.last {
			delete(s.closing, name)
			delete(s.books, name)
		}
	}
}

// Standing is how many clients have acknowledged the last change of an endpoint.
type Standing struct {
	In     bool     // it is in the assignment, and not leaving
	Out    bool     // it is not in the assignment at all
	ID     string   // with In: of the member
	Have   int      // clients of the service that have acknowledged this, with its current weight and tags
	Of     int      // clients of the service
	Behind []string // node ids of the others, sorted; the first ten
}

// Acked reports whether every client of the service has acknowledged it.
func (s Standing) Acked() bool { return s.Have == s.Of }

// maxBehind is how many nodes a Standing names.
const maxBehind = 10

// Standings is the Standing of each endpoint of one service, at one moment.
type Standings struct {
	places map[netip.AddrPort]place
	acked  []clientSeq // sorted by seq
}

type clientSeq struct {
	seq  uint64
	node string
}

// Standings returns what the clients of a service have acknowledged. Any goroutine may
// call it.
func (s *Server) Standings(service string) Standings {
	s.mu.Lock()
	var places map[netip.AddrPort]place
	if b := s.books[service]; b != nil {
		places = maps.Clone(b.places)
	}
	s.mu.Unlock()
	acked := s.clients.standings(service)
	slices.SortFunc(acked, func(a, b clientSeq) int { return int(min(max(int64(a.seq)-int64(b.seq), -1), 1)) })
	return Standings{places: places, acked: acked}
}

// At returns the Standing of the endpoint at addr. An address that was never pushed is
// out, and all clients know that.
func (s Standings) At(addr netip.AddrPort) Standing {
	p, ok := s.places[addr]
	if !ok {
		p.out = true
	}
	seq := max(p.seq, 1) // a client that has acknowledged nothing may have connected with any content
	behind := sort.Search(len(s.acked), func(i int) bool { return s.acked[i].seq >= seq })
	st := Standing{In: p.host != nil, Out: p.out, ID: p.id, Of: len(s.acked), Have: len(s.acked) - behind}
	for _, c := range s.acked[:min(behind, maxBehind)] {
		st.Behind = append(st.Behind, c.node)
	}
	slices.Sort(st.Behind)
	return st
}

// Acked receives after clients acknowledged something, were sent something new, connected
// or left. It holds one signal.
func (s *Server) Acked() <-chan struct{} { return s.moved }

// move signals that Standings may have changed.
func (s *Server) move() {
	s.moved.Set()
}
