package eds

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/api"
	"github.com/rollcall-fleet/rollcall/eds/internal/decide"
	"github.com/rollcall-fleet/rollcall/eds/internal/descriptors"
	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/override/share"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/option"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// server is the parts of an EDS server. Run makes them step by step, each of what
// the steps before have made, and owns them.
type server struct {
	opts   Options
	stops  stopper
	failed chan error // with room for every part that serves
	self   fleet.Member
	counts counts
	panics panics.Catcher
	files  *descriptors.Descriptors

	// Made by open.
	has        acquired
	enter      entrance
	overrides  *override.Store
	memory     *follow.Memory
	remembered []*fleet.Member

	// Made by join.
	sharer    *share.Sharer
	members   *gossip.Pool
	admission *admit.Admission

	// Made by connect.
	discovery *xds.Server
	prober    *probe.Prober
	relays    *relays
	links     *follow.Links
	receipts  *follow.Receipts
	endings   *follow.Endings
	hub       *events.Hub
	loop      *decide.Loop
	web       *http.Server
}

func newServer(opts Options) *server {
	opts = opts.withDefaults()
	counts := newCounts()
	return &server{
		opts: opts, failed: make(chan error, 3), stops: stopper{logger: opts.Logger, total: opts.ShutdownTimeout}, counts: counts,
		panics: panics.Catcher{Logger: opts.Logger, Count: func(where string) { counts.panics.WithLabelValues(where).Inc() }},
		files:  descriptors.New(descriptors.Options{Logger: opts.Logger}),
		self:   fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion},
	}
}

// open takes what this server alone can have, and reads what it keeps.
func (s *server) open() (err error) {
	if s.has, err = acquire(s.opts, &s.stops, s.panics); err != nil {
		return err
	}
	if s.overrides, err = override.NewStore(s.has.db, override.Options{Logger: s.opts.Logger, MaxInForce: s.opts.Access.Overrides, Unreadable: s.counts.unreadable}); err != nil {
		return err
	}
	if s.enter, err = s.opts.Access.open(s.opts.Logger); err != nil {
		return err
	}
	s.memory = follow.NewMemory(s.has.db, s.self.ID, s.counts.unreadable, s.opts.Logger)
	s.remembered, err = s.memory.Recall()
	return err
}

// join makes this server a member of the pool.
func (s *server) join() (err error) {
	opts := s.opts
	s.sharer = share.New(share.Options{
		Self: s.self.ID, Store: s.overrides, Logger: opts.Logger,
		Send: func(to *fleet.Member, b []byte) error { return s.members.Share(to, b) }, // from start on
	})
	s.members, err = gossip.Start(gossip.Options{
		Member: s.self, Fleet: opts.Fleet, Bind: opts.Gossip, Advertise: opts.Advertise,
		Seeds: opts.Seeds, Remembered: addresses(s.remembered), Keys: opts.Keys, Profile: opts.Profile, Logger: opts.Logger,
		KeyFile: opts.KeyFile, SigningKey: opts.Trust.EDSKey, EDSKeys: opts.Trust.edsKeys(), Bounds: opts.Trust.Bounds,
		Shared: s.sharer.Receive, Panicked: s.panics.Count,
	})
	if err != nil {
		return option.Rename(err, map[string]string{"Bind": "option Gossip"})
	}
	s.stops.addSlow("gossip", leaveStop+stopStep, func() error { return leave(s.members) })
	s.admission, err = admit.NewAdmission(admit.AdmissionOptions{
		Options: admit.Options{
			Fleet: opts.Fleet, Allow: opts.Trust.AllowAddresses, Local: s.members.Self().Gossip.Addr().IsLoopback(),
			MaxServices: opts.Trust.MaxServices, MaxEndpoints: opts.Trust.MaxEndpoints,
		},
		ServiceKeys: opts.Trust.ServiceKeys, Ask: s.members.Vouch, KeyRemoved: s.members.KeyRemoved(), Known: s.remembered, Logger: opts.Logger,
	})
	if err != nil {
		return Mistake{err}
	}
	return nil
}

// addresses are where members gossip.
func addresses(members []*fleet.Member) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, m := range members {
		addrs = append(addrs, m.Gossip)
	}
	return addrs
}

// connect makes the parts between the pool and those who ask.
func (s *server) connect() error {
	opts := s.opts
	s.discovery = xds.New(xds.Options{
		Logger: opts.Logger, TLS: s.enter.xdsTLS, Allows: s.enter.allows, Refused: s.enter.count, Panics: s.panics,
		MaxClients: opts.Access.Clients, MaxStreams: opts.Access.Streams, MaxNames: opts.Access.Names,
		MaxNameBytes: opts.Access.NameBytes, MaxRequestBytes: opts.Access.RequestBytes, CutExpired: opts.Access.CutExpired,
		MaxHeld: max(1, opts.Access.Connections/2), // each needs a connection
		Claims:  decide.ClaimsMost,
	})
	s.prober = probe.New(probe.Options{
		Interval: opts.ProbeInterval, Dial: s.files.Dial,
		Ping: func(ctx context.Context, t probe.Target) bool {
			return t.Gossip.IsValid() && s.members.Ping(ctx, t.ID, t.Gossip)
		},
		Challenge: s.challenge, Elsewhere: s.elsewhere, Stream: s.report,
	})
	s.relays = newRelays(s.members.Self().Gossip.Addr(), s.members.Members, s.prober.Evidence)
	s.links = follow.NewLinks(s.link, func(m *fleet.Member) { s.prober.Check(m.Endpoint.Addr) }, opts.Logger)
	ackTimes := newAckTimes()
	observe := func(kind string, took time.Duration) { ackTimes.WithLabelValues(kind).Observe(took.Seconds()) }
	s.receipts = follow.NewReceipts(s.discovery.Standings, s.discovery.Acked(), s.members.SendReceipt, observe, opts.Logger)
	s.endings = follow.NewEndings(s.overrides, opts.Logger)
	s.hub = events.New(events.Options{Overrides: s.overrides.InForce, Clients: s.discovery.Connected, MaxReaders: opts.Access.Readers})
	s.loop = decide.New(decide.Options{
		Self: s.self.ID, Pool: s.members, Overrides: s.overrides, Behind: s.sharer.Behind, Prober: s.prober, Admission: s.admission, Logger: opts.Logger,
		Registry: registry.Options{Guard: opts.Guard, GuardHold: opts.GuardHold, Round: max(registry.DefaultRound, 2*opts.ProbeInterval+registry.DefaultRound/2)},
		Seeds:    len(opts.Seeds) > 0, Remembered: s.remembered, Probes: opts.ProbeInterval,
		Store: s.memory.Update,
		Publish: []func(*registry.Snapshot){
			s.discovery.Update, s.receipts.Update, s.endings.Update, s.hub.Update, s.links.Update,
			func(snap *registry.Snapshot) { s.sharer.Members(snap.Members) },
		},
	})
	metrics, err := newMetrics(s.loop.Snapshot, s.discovery.Count, ackTimes, s.enter.refused,
		s.admission.Total(), s.counts.panics, s.counts.records, refusals{s.admission, s.members.Refused, bounds(opts, s.files)},
		gaugeOf("rollcall_overrides_in_force", "Overrides of operators that are in force.", func() int { list, _ := s.overrides.InForce(); return len(list) }),
		gaugeOf("rollcall_event_readers", "Who reads GET /events.", s.hub.Readers),
		gaugeOf("rollcall_probe_connections", "Connections to endpoints and members, of which rollcall_bound has the most.", s.files.Used),
		counterOf("rollcall_probe_connections_refused_total", "Probes that were not made since they had their share of the file descriptors.", s.files.Refused))
	if err != nil {
		return err
	}
	s.web = s.newWeb(metrics)
	return nil
}

// challenge asks the process at t's gossip address to prove that it is the member.
func (s *server) challenge(ctx context.Context, t probe.Target) bool {
	id, err := uuid.Parse(t.ID)
	return err == nil && s.members.Vouch(ctx, &fleet.Member{ID: id, Gossip: t.Gossip})
}

// elsewhere has other members challenge the one that is to be at t's gossip address.
func (s *server) elsewhere(ctx context.Context, t probe.Target) bool {
	id, err := uuid.Parse(t.ID)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, questionWait)
	defer cancel()
	if s.relays.asking.Acquire(ctx, 1) != nil {
		return false
	}
	defer s.relays.asking.Release(1)
	return s.members.Elsewhere(ctx, &fleet.Member{ID: id, Gossip: t.Gossip}, s.relays.choose(t.Gossip.Addr()))
}

// newWeb makes the server of the HTTP port.
func (s *server) newWeb(metrics prometheus.Gatherer) *http.Server {
	opts := s.opts
	web := &http.Server{
		Handler: s.enter.guard(api.New(api.Options{
			Registry: s.loop, Overrides: s.overrides, Discovery: s.discovery, Clients: s.discovery.Clients, Standings: s.discovery.Standings,
			Events: s.hub.Subscribe, Keys: keyring{s.members}, Refused: s.enter.count,
			Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}), Logger: opts.Logger,
		}), opts.Access, opts.HTTP.Addr(), s.panics),
		TLSConfig:         s.enter.httpTLS,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	(&unread{logger: opts.Logger}).watch(web)
	web.RegisterOnShutdown(s.hub.Close)
	web.RegisterOnShutdown(s.discovery.EndHolds)
	return web
}

// start starts everything, so that it stops in reverse order.
func (s *server) start() error {
	if s.opts.Debug.IsValid() {
		if err := serveDebug(&s.stops, s.failed, s.opts, s.panics); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		name string
		run  func(context.Context)
	}{
		{"overrides", s.overrides.Run}, {"sharing", s.sharer.Run}, {"endings", s.endings.Run}, {"events", s.hub.Run},
		{"probes", s.prober.Run}, {"admission", s.admission.Run}, {"receipts", s.receipts.Run}, {"registry", s.loop.Run},
		{"reminders", func(ctx context.Context) {
			follow.Remind(ctx, s.loop.Snapshot, s.members.TellMissing, s.opts.Logger)
		}},
		{"memory", s.memory.Run}, {"links", s.links.Run}, {"file descriptors", s.files.Run},
	} {
		s.stops.goRun(p.name, p.run)
	}
	xdsLis := s.enter.limit(s.files.Listener(s.has.xds), s.opts.Access, middleware.RefusedXDSConnections)
	httpLis := s.enter.limit(s.files.Listener(s.has.http), s.opts.Access, middleware.RefusedHTTPConnections)
	s.stops.goServe("xds server", s.failed, func(ctx context.Context) error { return s.discovery.Serve(ctx, xdsLis) })
	s.stops.goServe("http server", s.failed, func(ctx context.Context) error { return serveHTTP(ctx, s.web, httpLis) })
	s.opts.Logger.Info("eds server runs", "http", s.has.http.Addr(), "xds", s.has.xds.Addr(),
		"gossip", s.members.Self().Gossip, "id", s.self.ID, "data_dir", s.opts.DataDir)
	return nil
}
