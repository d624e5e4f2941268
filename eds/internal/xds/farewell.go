package xds

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// An Envoy with active health checks continues to use an endpoint that is absent from its
// assignment until a check fails, unless the endpoint was unhealthy in the assignment
// before (or the cluster sets ignore_health_on_host_removal). So an endpoint leaves in two
// steps: a client first receives it as unhealthy, and an assignment without it as soon as
// it has acknowledged that, whatever other clients do. An endpoint has left once every
// stream has acknowledged that it leaves, or farewellMost later. A client that polls may do
// so less often: it takes the two steps with its own polls.
const (
	farewellMost  = time.Second
	goneFor       = time.Minute          // for so long pollers receive an endpoint that has left as unhealthy
	ackedTogether = 5 * time.Millisecond // acknowledgements within this time are handled together
)

// served is one endpoint of an assignment.
type served struct {
	*registry.Host      // of a Snapshot: read-only
	leaving        bool // served as unhealthy
}

// serving is the state of one service.
type serving struct {
	name    string
	known   bool             // in the latest snapshot
	offered registry.Service // by the snapshot that said something new last
	wanted  []*registry.Host // the good ones of these that are served, sorted by address
	leaving []departure      // none of them wanted; oldest first
	gone    []departure      // lately, none of them wanted
	bad     string           // why the others are not good
	current *resource        // of all of these; nil before the first one

	moved []netip.AddrPort // what clients know of these may have changed since the last push
}

// want makes hosts the ones that are served. Those that were served before and are
// no longer wanted start to leave, and have left after farewell at the latest.
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
		s.leaving = append(s.leaving, departure{Host: *h, dead: s.dead(h), until: now.Add(farewell)})
	}
}

// dead reports whether h is no longer served because it does not answer, or is unhealthy.
func (s *serving) dead(h *registry.Host) bool {
	for _, now := range s.offered.At(h.Addr) {
		if now.ID == h.ID {
			return !now.Served && now.State != registry.StateHealthy && now.State != registry.StateDraining
		}
	}
	return false
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

// announced notes the push that says who leaves.
func (s *serving) announced(seq uint64) {
	for i := range s.leaving {
		if s.leaving[i].seq == 0 {
			s.leaving[i].seq = seq
		}
	}
}

// release removes the endpoints whose time is over or whose departure all streams have
// acknowledged; acked is the push that all streams have acknowledged. It reports whether
// it removed any.
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

// release removes the endpoints that may be removed by now, and sets the timer for the
// others. The push that says that they leave was made before. The caller holds mu.
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

// wake sets the timer to when the next endpoint must be removed.
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

// lookSoon is called after an event that may have been the last that a leaving endpoint
// waited for: a client acknowledged, unsubscribed or disconnected. It only schedules look.
func (s *Server) lookSoon() {
	s.move()
	if s.departing.Load() && s.looking.CompareAndSwap(false, true) {
		time.AfterFunc(ackedTogether, s.look)
	}
}

// look releases endpoints; timers call it.
func (s *Server) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking.Store(false)
	if !s.closed {
		s.release(time.Now())
	}
}

// close stops the timers and notifications. An endpoint that is leaving stays so for
// clients that still poll.
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
