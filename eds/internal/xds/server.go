// Package xds serves registry snapshots to Envoys as cluster load assignments:
// over the four EDS and ADS streams of gRPC, over REST as v3 and v2, and as the
// v1 registration list. An assignment is encoded once and all clients
// share its bytes; its version is derived from its content, so that any EDS server that
// sees the same fleet gives the same answer. The package also keeps which client has
// acknowledged what.
package xds

import (
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/budget"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// The bounds, unless Options say otherwise.
const (
	DefaultMaxClients = 100_000 // streams and REST clients together
	DefaultMaxStreams = 10_000  // of one connection: an Envoy without ADS opens one for each cluster
	DefaultMaxNames   = 10_000  // in the subscription of one stream

	DefaultMaxNameBytes = 1 << 20 // of the names in it

	DefaultMaxRequestBytes = 256 << 20 // of requests that are being read
	DefaultMaxHeld         = 500       // polls of one address that wait for news
)

// Options configure a Server.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// MaxClients bounds the streams and REST clients together; 0 means 100,000.
	// Past it a stream is refused with RESOURCE_EXHAUSTED and a poll with 503. Half
	// of them at most may be REST clients, and a tenth those of one address.
	MaxClients int

	MaxStreams int // of one connection; 0 means 10,000; further ones wait
	MaxNames   int // in one stream's subscription; 0 means 10,000; past it the stream ends with INVALID_ARGUMENT

	MaxNameBytes int // of the names in it; 0 means 1 MiB; likewise

	// MaxRequestBytes bounds the memory for requests that are being read, of all clients; 0 means 256 MiB. One address has a quarter of it at most. A connection
	// that finds no room within 5 s is closed, a poll refused with 503.
	MaxRequestBytes int64

	// MaxHeld bounds the polls of one address that are held at a time until something
	// changes, each on a connection of its own; 0 means 500. Further ones are answered at
	// once.
	MaxHeld int

	// Claims is for how long after New a client is not answered about services of which it
	// has more endpoints than the snapshots; 0: it is always answered.
	Claims time.Duration

	TLS *tls.Config // of the gRPC port; nil: none

	// Allows reports whether the client with an id may read a service, all of them
	// for "*"; nil: every client may. The id is the SPIFFE id or common name of the
	// client's certificate, without one the node id that it sends.
	Allows func(id, service string) bool

	// CutExpired ends streams whose client's certificate has ended. They are kept
	// otherwise, with a warning, and shown in Clients.
	CutExpired bool

	Refused func(reason string) // called for each refusal; may be nil
	Panics  panics.Catcher      // of panics in streams, each of which ends its stream
}

// Server serves the latest snapshot. Its methods may be called from any
// goroutine, but for Update.
type Server struct {
	opts     Options // as New completed them
	logger   *slog.Logger
	cache    *cache
	clients  *clients
	health   *health.Server
	names    lastList
	repeats  repeats
	refusing sync.Mutex
	refusals logLines // guarded by refusing

	room *budget.Budget // for requests that have not been read yet

	farewell time.Duration // how long an endpoint is served as unhealthy at most; 0 for not at all

	moved latest.Signal // see Acked

	holdless chan struct{} // closed by EndHolds
	endHolds sync.Once

	notifying sync.WaitGroup // close waits for it

	departing atomic.Bool // some endpoint is leaving
	looking   atomic.Bool // look is about to be called

	mu       sync.Mutex // guards what follows; taken before any other lock
	settled  bool
	services map[string]*serving // by name
	leaving  map[string]*serving // those of them with a leaving endpoint
	books    map[string]*book    // what the last pushes said of each address, by service
	closing  map[string]*book    // those of them whose service no longer exists
	timer    *time.Timer         // for endpoints whose departure is not acknowledged; nil before the first
	closed   bool
}

// New returns a Server without a snapshot: it counts as not settled.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxClients == 0 {
		opts.MaxClients = DefaultMaxClients
	}
	if opts.MaxStreams == 0 {
		opts.MaxStreams = DefaultMaxStreams
	}
	if opts.MaxNames == 0 {
		opts.MaxNames = DefaultMaxNames
	}
	if opts.MaxRequestBytes == 0 {
		opts.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if opts.MaxNameBytes == 0 {
		opts.MaxNameBytes = DefaultMaxNameBytes
	}
	if opts.MaxHeld == 0 {
		opts.MaxHeld = DefaultMaxHeld
	}
	if opts.Refused == nil {
		opts.Refused = func(string) {}
	}
	s := &Server{
		opts: opts, logger: opts.Logger, cache: newCache(), clients: newClients(opts.MaxClients, opts.MaxNames),
		health: health.NewServer(), farewell: farewellMost,
		services: make(map[string]*serving), leaving: make(map[string]*serving),
		books: make(map[string]*book), closing: make(map[string]*book), moved: latest.NewSignal(),
		holdless: make(chan struct{}), room: budget.New(budget.Options{Total: opts.MaxRequestBytes, Waiting: budgetWaiters, Most: messageWait}),
	}
	s.cache.claims.logger = opts.Logger
	if opts.Claims > 0 {
		s.cache.claims.until = time.Now().Add(opts.Claims)
	}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return s
}

// Update serves snap from now on, and pushes what it changes. Only the registry's
// goroutine calls it; it waits for no client. Until snap.Settled, streams stay silent and
// polls are answered 503. An endpoint that is no longer in snap is served as unhealthy
// first, for a second at most.
func (s *Server) Update(snap *registry.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.cache.claims.until) {
		s.cache.know(knownOf(snap))
	}
	touched := s.take(snap, now)
	s.settled = snap.Settled
	s.publish(touched)
	s.release(now) // at once where no client has asked for it
	if snap.Settled {
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	}
}

// knownOf counts the endpoints that a snapshot knows, by service.
func knownOf(snap *registry.Snapshot) map[string]int {
	known := make(map[string]int, len(snap.Services))
	for _, service := range snap.Services {
		known[service.Name] = service.Known()
	}
	return known
}

// take stores a snapshot, and returns the services that it changes.
func (s *Server) take(snap *registry.Snapshot, now time.Time) (touched []*serving) {
	farewell := s.farewell
	if !s.settled { // no client has received any endpoint
		farewell = 0
	}
	for _, sv := range s.services {
		sv.known = false
	}
	for _, service := range snap.Services {
		if sv := s.want(service, now, farewell); sv != nil {
			touched = append(touched, sv)
		}
	}
	for _, sv := range s.services {
		if !sv.known {
			sv.want(nil, now, farewell)
			touched = append(touched, sv)
		}
	}
	return touched
}

// want stores a service of a snapshot; nil if it has not changed. The service is checked
// again here, wherever it comes from: what Envoy would reject is left out and logged.
func (s *Server) want(service registry.Service, now time.Time, farewell time.Duration) *serving {
	sv := s.services[service.Name]
	fresh := sv == nil
	if fresh {
		if err := fleet.CheckService(service.Name); err != nil {
			s.logger.Error("service left out: Envoy would reject it", "err", err)
			return nil
		}
		sv = &serving{name: service.Name}
		s.services[service.Name] = sv
	}
	sv.known = true
	if !fresh && (service.Same(sv.offered) || sv.bad == "" && offersSame(service, sv.wanted)) {
		return nil
	}
	sv.offered = service
	hosts, bad := sift(service, sv.wanted)
	s.leftOut(sv, bad)
	if !fresh && sameHosts(hosts, sv.wanted) {
		return nil
	}
	sv.want(hosts, now, farewell)
	return sv
}

// leftOut logs which endpoints of a service are left out, when that has changed.
func (s *Server) leftOut(sv *serving, bad error) {
	was := sv.bad
	if sv.bad = ""; bad != nil {
		sv.bad = bad.Error()
	}
	if bad != nil && sv.bad != was {
		s.logger.Error("endpoints left out of the assignment: Envoy would reject it with them", "service", sv.name, "err", bad)
	}
}

// publish pushes what has changed of these services. The caller holds mu.
func (s *Server) publish(touched []*serving) {
	var changed []*resource
	var gone []string
	next := s.cache.next()
	for _, sv := range touched {
		sv.announced(next)
		if r := sv.build(); r != sv.current {
			sv.current = r
			changed = append(changed, r)
		}
		if len(sv.leaving) > 0 {
			s.leaving[sv.name] = sv
			continue
		}
		delete(s.leaving, sv.name)
		if !sv.known && len(sv.gone) == 0 {
			delete(s.services, sv.name)
			gone = append(gone, sv.name)
		}
	}
	s.departing.Store(len(s.leaving) > 0) // first: the push may be acknowledged before update returns
	seq, notified := s.cache.update(s.settled, changed, gone)
	s.notify(notified)
	for _, sv := range touched {
		s.note(sv, seq)
	}
	if len(touched) > 0 {
		s.tidyBooks()
		s.move()
	}
}

// notify notifies streams that there is something to collect, on a goroutine of its own:
// the registry's waits for no stream. The caller holds mu.
func (s *Server) notify(streams []*watcher) {
	if len(streams) > 0 && !s.closed {
		s.notifying.Go(func() { s.cache.notify(streams) })
	}
}

// Clients returns all current xDS clients, sorted by node, transport and the time they
// connected. A REST client is gone when it has missed three polls and 5 s more; in its
// first minute, when it has not polled for a minute.
func (s *Server) Clients() []Client { return s.clients.list(time.Now()) }

// Connected is Clients without their services, and its revision. It returns nil if that
// revision is known already: no client has connected, left, or sent a NACK since. It is
// cheap then.
func (s *Server) Connected(known uint64) (list []Client, revision uint64) {
	return s.clients.connected(known, time.Now())
}

// Count returns how many clients there are. It is cheaper than Clients.
func (s *Server) Count() Count { return s.clients.counts(time.Now()) }
