package xds

import (
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/registry"
)

// An Envoy that checks health actively goes on using a host that is absent from
// its assignment until a check fails, unless the host was unhealthy in the
// assignment before (or the cluster says ignore_health_on_host_removal). So a host
// leaves in two steps: it is served as unhealthy first, and is absent once every
// client has acknowledged that, or farewellMost later.
const (
	farewellMost  = time.Second
	ackedTogether = 5 * time.Millisecond // acknowledgements are looked at this long after the first
)

// served is one endpoint of an assignment.
type served struct {
	registry.Host
	leaving bool // served as unhealthy
}

// departure is a host on its way out.
type departure struct {
	registry.Host
	seq   uint64 // of the push that says so; 0 until it is made
	until time.Time
}

// serving is what one service has come to.
type serving struct {
	known      bool            // in the latest snapshot
	gone       bool            // not known, and nobody is leaving: kept until that is acknowledged
	last       uint64          // the last push that said something of it
	wanted     []registry.Host // by the latest snapshot, sorted by address
	leaving    []departure     // sorted by address, none of them wanted
	assignment *assignment     // of both; nil before the first one

	// since is the push as of which each place has been as it is: by address, for
	// the endpoints in the assignment and those that left it lately.
	since map[netip.AddrPort]place
	stale bool // assignment may not be what the others make
}

// want makes hosts the ones that are served. Those that were served before and are
// not wanted any more begin to leave, and have gone after farewell at the latest.
func (s *serving) want(hosts []registry.Host, now time.Time, farewell time.Duration) {
	if farewell > 0 {
		for _, h := range s.wanted {
			s.leaving = append(s.leaving, departure{Host: h, until: now.Add(farewell)})
		}
	}
	s.wanted, s.stale = hosts, true
	s.leaving = slices.DeleteFunc(s.leaving, func(d departure) bool { return has(hosts, d.Addr) })
	slices.SortFunc(s.leaving, func(a, b departure) int { return a.Addr.Compare(b.Addr) })
	s.leaving = slices.CompactFunc(s.leaving, func(a, b departure) bool { return a.Addr == b.Addr })
}

func has(hosts []registry.Host, addr netip.AddrPort) bool {
	_, ok := slices.BinarySearchFunc(hosts, addr, func(h registry.Host, a netip.AddrPort) int { return h.Addr.Compare(a) })
	return ok
}

// finish lets those go whose time is over or of whom everybody knows.
func (s *serving) finish(now time.Time, acked func(seq uint64) bool) {
	s.stale = true
	s.leaving = slices.DeleteFunc(s.leaving, func(d departure) bool {
		return !now.Before(d.until) || (d.seq > 0 && acked(d.seq))
	})
}

// hosts are the endpoints of the assignment, sorted by address.
func (s *serving) hosts() []served {
	hosts := make([]served, 0, len(s.wanted)+len(s.leaving))
	for _, h := range s.wanted {
		hosts = append(hosts, served{Host: h})
	}
	if len(s.leaving) == 0 {
		return hosts
	}
	for _, d := range s.leaving {
		hosts = append(hosts, served{Host: d.Host, leaving: true})
	}
	slices.SortFunc(hosts, func(a, b served) int { return a.Addr.Compare(b.Addr) })
	return hosts
}

// told notes the push that says who is there and who leaves.
func (s *serving) told(seq uint64) {
	s.last = seq
	s.note(seq)
	for i := range s.leaving {
		if s.leaving[i].seq == 0 {
			s.leaving[i].seq = seq
		}
	}
}

// acknowledged is called after a client acknowledged something. It only sees to
// it that somebody looks whether a host may go.
func (s *Server) acknowledged() {
	s.move()
	if s.departing.Load() && s.looking.CompareAndSwap(false, true) {
		time.AfterFunc(ackedTogether, s.look)
	}
}

// look lets the hosts go that may go by now.
func (s *Server) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking.Store(false)
	if s.closed || !s.departing.Load() {
		return
	}
	now := time.Now()
	for name, sv := range s.services {
		if len(sv.leaving) > 0 {
			sv.finish(now, func(seq uint64) bool { return s.clients.acked(name, seq) })
		}
	}
	s.publish(now)
}

// close ends the looking; a host that is leaving stays so for who still polls.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
