// Package xds serves registry snapshots to Envoys as cluster load assignments:
// over the four EDS and ADS streams of gRPC, over REST as v3 and v2, and as the
// v1 registration list. An assignment is encoded once and its bytes go to
// everybody; its version is derived from its content, so that any EDS server that
// sees the same fleet answers alike. It also knows which client has acknowledged
// what.
package xds

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// Options are what a Server needs.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// MaxClients bounds the streams and REST clients together; 0 means 100,000.
	// Past it a stream is refused with RESOURCE_EXHAUSTED and a poll with 503.
	MaxClients int
}

// Server serves the latest snapshot. Its methods may be called from any
// goroutine, but for Update.
type Server struct {
	logger  *slog.Logger
	cache   *cache
	clients *clients
	health  *health.Server

	farewell time.Duration // how long a host is served as unhealthy at most

	moved chan struct{} // capacity one

	departing atomic.Bool // some host is on its way out
	looking   atomic.Bool // look is about to be called

	mu       sync.Mutex // guards what follows; taken before any other lock
	settled  bool
	services map[string]*serving
	timer    *time.Timer // for the hosts that nobody acknowledges; nil before the first
	closed   bool
}

// New returns a Server that holds no snapshot yet, which is one that has not settled.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxClients == 0 {
		opts.MaxClients = defaultMaxClients
	}
	s := &Server{
		logger: opts.Logger, cache: newCache(), clients: newClients(opts.MaxClients),
		health: health.NewServer(), services: make(map[string]*serving), farewell: farewellMost,
		moved: make(chan struct{}, 1),
	}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return s
}

// Update makes snap what is served, and pushes what it changes. One goroutine
// calls it, the registry's; it waits for no client. Until snap.Settled, streams
// stay silent and polls are answered 503. A host that is not served any more is
// served as unhealthy first, for a second at most.
func (s *Server) Update(snap *registry.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, sv := range s.services {
		sv.known = false
	}
	for _, service := range snap.Services {
		s.want(service, now)
	}
	for name, sv := range s.services {
		if !sv.known && len(sv.wanted) > 0 {
			sv.want(nil, now, s.patience(name))
		}
	}
	s.settled = snap.Settled
	s.publish(now)
	if snap.Settled {
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	}
}

// want notes what a snapshot says of a service. It passes the border check once
// more, whoever put it into the snapshot: what Envoy would reject is left out and
// named in the log.
func (s *Server) want(service registry.Service, now time.Time) {
	sv := s.services[service.Name]
	if sv == nil {
		if err := fleet.CheckService(service.Name); err != nil {
			s.logger.Error("service left out", "error", err)
			return
		}
		sv = &serving{}
		s.services[service.Name] = sv
	}
	if sv.gone { // it is news again
		sv.gone, sv.stale, sv.assignment = false, true, nil
	}
	sv.known = true
	hosts, bad := sift(service)
	if sameHosts(hosts, sv.wanted) {
		return
	}
	if bad != nil {
		s.logger.Error("hosts left out of the assignment", "service", service.Name, "error", bad)
	}
	sv.want(hosts, now, s.patience(service.Name))
}

// patience is how long a host that leaves the service is waited for: not at all
// when no client would hear of it.
func (s *Server) patience(name string) time.Duration {
	if !s.settled || !s.clients.watching(name) {
		return 0
	}
	return s.farewell
}

// publish encodes what has changed and pushes it. The caller holds mu.
func (s *Server) publish(now time.Time) {
	var changed []*assignment
	var touched []*serving
	var gone []string
	var until time.Time
	for name, sv := range s.services {
		if sv.stale || sv.assignment == nil {
			sv.stale = false
			touched = append(touched, sv)
			if a := s.build(name, sv); a != sv.assignment {
				sv.assignment = a
				changed = append(changed, a)
			}
		}
		if !sv.known && len(sv.leaving) == 0 && !sv.gone {
			sv.gone = true
			gone = append(gone, name)
		}
		if sv.gone && !slices.Contains(touched, sv) && s.clients.acked(name, sv.last) {
			delete(s.services, name)
		}
		for _, d := range sv.leaving {
			if until.IsZero() || d.until.Before(until) {
				until = d.until
			}
		}
	}
	seq := s.cache.update(s.settled, changed, gone)
	for _, sv := range touched {
		sv.told(seq)
	}
	if len(touched) > 0 {
		s.move()
	}
	s.departing.Store(!until.IsZero())
	if until.IsZero() || s.closed {
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(until.Sub(now), s.look)
	} else {
		s.timer.Reset(until.Sub(now))
	}
}

// build returns the assignment of a service, the one it has if nothing changed.
func (s *Server) build(name string, sv *serving) *assignment {
	hosts := sv.hosts()
	if sv.assignment != nil && slices.EqualFunc(hosts, sv.assignment.hosts, sameHost) {
		return sv.assignment
	}
	a, err := encode(name, hosts)
	if err != nil {
		s.logger.Error("assignment left as it was", "service", name, "error", err)
		return sv.assignment
	}
	return a
}

// Clients returns every xDS client there is now, sorted by node, transport and
// the time it connected. A REST client is gone after three missed polls, at least
// a minute.
func (s *Server) Clients() []Client { return s.clients.list(time.Now()) }
