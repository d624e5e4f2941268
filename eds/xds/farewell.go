package xds

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/registry"
)

// An Envoy that checks health actively goes on using a host that is absent from
// its assignment until a check fails, unless the host was unhealthy in the
// assignment before (or the cluster says ignore_health_on_host_removal). So a host
// leaves in two steps: it is served as unhealthy first, and is absent once every
// stream has acknowledged that, or farewellMost later. One that polls may do so
// less often: it takes the two steps with its own polls.
const (
	farewellMost  = time.Second
	goneFor       = time.Minute          // a poller is told of a host that has gone
	ackedTogether = 5 * time.Millisecond // what happens meanwhile is looked at together
)

// served is one endpoint of an assignment.
type served struct {
	*registry.Host      // of a Snapshot, nobody writes to it
	leaving        bool // served as unhealthy
}

// departure is a host on its way out.
type departure struct {
	registry.Host
	seq   uint64 // of the push that says so; 0 until it is made
	until time.Time
}

// serving is what one service has come to.
type serving struct {
	name       string
	known      bool             // in the latest snapshot
	offered    registry.Service // by the snapshot that said something new last
	wanted     []*registry.Host // the good ones of these that are served, sorted by address
	leaving    []departure      // none of them wanted
	gone       []departure      // lately, none of them wanted
	bad        string           // why the others are not good
	assignment *assignment      // of both; nil before the first one

	moved []netip.AddrPort // whose place may be another one since clients were last told
}

// want makes hosts the ones that are served. Those that were served before and are
// not wanted any more begin to leave, and have gone after farewell at the latest.
func (s *serving) want(hosts []*registry.Host, now time.Time, farewell time.Duration) {
	s.leaving = slices.DeleteFunc(s.leaving, func(d departure) bool { return has(hosts, d.Addr) })
	s.gone = slices.DeleteFunc(s.gone, func(d departure) bool { return has(hosts, d.Addr) || d.old(now) })
	old := s.wanted
	for _, h := range hosts {
		for len(old) > 0 && old[0] != h && old[0].Addr.Compare(h.Addr) < 0 {
			s.leave(old[0], now, farewell)
			old = old[1:]
		}
		if len(old) > 0 && (old[0] == h || old[0].Addr == h.Addr) {
			if !sameHost(old[0], h) {
				s.moved = append(s.moved, h.Addr)
			}
			old = old[1:]
			continue
		}
		s.moved = append(s.moved, h.Addr)
	}
	for _, h := range old {
		s.leave(h, now, farewell)
	}
	s.wanted = hosts
}

func (s *serving) leave(h *registry.Host, now time.Time, farewell time.Duration) {
	s.moved = append(s.moved, h.Addr)
	if farewell > 0 {
		s.leaving = append(s.leaving, departure{Host: *h, until: now.Add(farewell)})
	}
}

func has(hosts []*registry.Host, addr netip.AddrPort) bool { return find(hosts, addr) != nil }

// find returns the host at addr, or nil. The hosts are sorted by address.
func find(hosts []*registry.Host, addr netip.AddrPort) *registry.Host {
	i, ok := slices.BinarySearchFunc(hosts, addr, func(h *registry.Host, a netip.AddrPort) int { return h.Addr.Compare(a) })
	if !ok {
		return nil
	}
	return hosts[i]
}

// old reports whether nobody is told of d any more.
func (d departure) old(now time.Time) bool { return now.Sub(d.until) > goneFor }

// hosts are the endpoints of the assignment, sorted by address.
func (s *serving) hosts() []served {
	hosts := make([]served, 0, len(s.wanted)+len(s.leaving))
	for _, h := range s.wanted {
		hosts = append(hosts, served{Host: h})
	}
	return withLeaving(hosts, s.leaving)
}

// withLeaving appends to hosts and sorts them by address.
func withLeaving(hosts []served, leaving []departure) []served {
	if len(leaving) == 0 {
		return hosts
	}
	for _, d := range leaving {
		hosts = append(hosts, served{Host: &d.Host, leaving: true})
	}
	slices.SortFunc(hosts, func(a, b served) int { return a.Addr.Compare(b.Addr) })
	return hosts
}

// told notes the push that says who leaves.
func (s *serving) told(seq uint64) {
	for i := range s.leaving {
		if s.leaving[i].seq == 0 {
			s.leaving[i].seq = seq
		}
	}
}

// release lets those go whose time is over or of whom everybody knows, all streams
// having acknowledged what was current at acked. It reports whether any went.
func (s *serving) release(now time.Time, acked uint64) bool {
	before := len(s.leaving)
	s.leaving = slices.DeleteFunc(s.leaving, func(d departure) bool {
		goes := d.seq <= acked || !now.Before(d.until)
		if goes {
			s.gone = append(s.gone, d)
			s.moved = append(s.moved, d.Addr)
		}
		return goes
	})
	return len(s.leaving) < before
}

// release lets the hosts go that may go by now, and sees to it that the others do
// in time. All of them have been told. The caller holds mu.
func (s *Server) release(now time.Time) {
	if len(s.leaving) == 0 {
		return
	}
	var touched []*serving
	acked := s.clients.acked(slices.Collect(maps.Keys(s.leaving)))
	for name, sv := range s.leaving {
		if sv.release(now, acked[name]) {
			touched = append(touched, sv)
		}
	}
	if len(touched) > 0 {
		s.publish(touched)
	}
	s.wake(now)
}

// wake sets the timer to when the next host has to go.
func (s *Server) wake(now time.Time) {
	var next time.Time
	for _, sv := range s.leaving {
		for _, d := range sv.leaving {
			if next.IsZero() || d.until.Before(next) {
				next = d.until
			}
		}
	}
	switch {
	case next.IsZero() || s.closed:
	case s.timer == nil:
		s.timer = time.AfterFunc(next.Sub(now), s.look)
	default:
		s.timer.Reset(next.Sub(now))
	}
}

// lookSoon is called after what may have been the last that a host waited for: a
// client acknowledged, unsubscribed or went. It only sees to it that somebody looks.
func (s *Server) lookSoon() {
	s.move()
	if s.departing.Load() && s.looking.CompareAndSwap(false, true) {
		time.AfterFunc(ackedTogether, s.look)
	}
}

// missed returns what a poller is to be told that holds the names as of since: the
// hosts that have left meanwhile are in it, as unhealthy.
func (p push) missed(since func(name string) uint64, now time.Time) push {
	for i, a := range p.assignments {
		seq := since(a.name)
		missed := slices.DeleteFunc(slices.Clone(a.gone), func(d departure) bool { return d.seq <= seq || d.old(now) })
		if len(missed) == 0 {
			continue
		}
		p.assignments[i] = newAssignment(a.name, withLeaving(slices.Clone(a.hosts), missed), a)
	}
	p.version = combinedVersion(p.assignments)
	return p
}

// look is called by timers.
func (s *Server) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking.Store(false)
	if !s.closed {
		s.release(time.Now())
	}
}

// close ends the looking; a host that is leaving stays so for who still polls, and
// nobody is told of news any more.
func (s *Server) close() {
	defer s.EndHolds()
	defer s.cache.endClaims()
	defer s.notifying.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
