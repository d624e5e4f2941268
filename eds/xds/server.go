// Package xds serves registry snapshots to Envoys as cluster load assignments:
// over the four EDS and ADS streams of gRPC, over REST as v3 and v2, and as the
// v1 registration list. An assignment is encoded once and its bytes go to
// everybody; its version is derived from its content, so that any EDS server that
// sees the same fleet answers alike. It also knows which client has acknowledged
// what.
package xds

import (
	"log/slog"
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

	// Owned by the goroutine that calls Update.
	built map[string]*assignment
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
		health: health.NewServer(), built: make(map[string]*assignment),
	}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return s
}

// Update makes snap what is served, and pushes what it changes. One goroutine
// calls it, the registry's; it waits for no client. Until snap.Settled, streams
// stay silent and polls are answered 503.
func (s *Server) Update(snap *registry.Snapshot) {
	next := make(map[string]*assignment, len(snap.Services))
	var changed []*assignment
	for _, service := range snap.Services {
		old := s.built[service.Name]
		a := s.build(service, old)
		if a == nil {
			continue
		}
		next[a.name] = a
		if a != old {
			changed = append(changed, a)
		}
	}
	var gone []string
	for name := range s.built {
		if next[name] == nil {
			gone = append(gone, name)
		}
	}
	s.built = next
	s.cache.update(snap.Settled, changed, gone)
	if snap.Settled {
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	}
}

// build returns old if nothing changed. Each service passes the border check once
// more, whoever put it into the snapshot: what Envoy would reject is left out and
// named in the log. It returns nil for a service that cannot be served at all.
func (s *Server) build(service registry.Service, old *assignment) *assignment {
	hosts, bad := sift(service)
	if old != nil && sameHosts(hosts, old.hosts) {
		return old
	}
	if bad != nil {
		s.logger.Error("hosts left out of the assignment", "service", service.Name, "error", bad)
	}
	if err := fleet.CheckService(service.Name); err != nil {
		s.logger.Error("service left out", "error", err)
		return nil
	}
	a, err := encode(service.Name, hosts)
	if err != nil {
		s.logger.Error("assignment left as it was", "error", err)
		return old
	}
	return a
}

// Clients returns every xDS client there is now, sorted by node, transport and
// the time it connected. A REST client is gone after three missed polls, at least
// a minute.
func (s *Server) Clients() []Client { return s.clients.list(time.Now()) }
