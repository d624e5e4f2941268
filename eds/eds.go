// Package eds wires and runs an EDS server: a member of the gossip pool that
// turns the other members, and what operators decided, into endpoints, and hands
// those to every Envoy that asks. The parts are in the folders below; here are
// the goroutine that owns the registry's state, and the order of start and stop.
package eds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollcall-fleet/rollcall/eds/api"
	"github.com/rollcall-fleet/rollcall/eds/events"
	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/override/share"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/eds/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// How long each part may take to stop.
const (
	httpStop  = 3 * time.Second
	leaveStop = 10 * time.Second
)

// Options says how to run an EDS server.
type Options struct {
	HTTP      netip.AddrPort // API, console, REST discovery
	XDS       netip.AddrPort // gRPC discovery
	Gossip    netip.AddrPort
	Advertise netip.AddrPort // gossip address told to others; zero: Gossip
	Seeds     []string
	Fleet     string
	Keys      [][]byte
	Profile   gossip.Profile
	DataDir   string // made when missing
	Access    Access
	Debug     netip.AddrPort // profiles and channelz, on loopback; zero: none

	ProbeInterval time.Duration // between two probes of an endpoint; 0 stands for 1 s
	Guard         float64       // see registry.Options
	GuardHold     time.Duration

	Logger *slog.Logger
}

// Run serves until ctx ends, then stops everything in reverse order, each wait
// bounded. It returns an error when listen addresses or the data directory cannot be
// had, one that names them all, and when a part fails.
func Run(ctx context.Context, opts Options) (err error) {
	var stops stopper
	defer func() { err = errors.Join(err, stops.stop()) }()

	has, err := acquire(opts, &stops)
	if err != nil {
		return err
	}
	db, httpLis, xdsLis := has.db, has.http, has.xds
	overrides, err := override.NewStore(db, override.Options{Logger: opts.Logger})
	if err != nil {
		return err
	}

	enter, err := opts.Access.open(opts.Logger)
	if err != nil {
		return err
	}

	self := fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion}
	mem := newMemory(db, self.ID, opts.Logger)
	remembered, err := mem.recall()
	if err != nil {
		return err
	}
	var members *gossip.Pool
	sharer := share.New(share.Options{
		Self: self.ID, Store: overrides, Logger: opts.Logger,
		Send: func(to fleet.Member, b []byte) error { return members.Share(to, b) }, // from Run on
	})
	members, err = gossip.Start(gossip.Options{
		Member: self, Fleet: opts.Fleet, Bind: opts.Gossip, Advertise: opts.Advertise,
		Seeds: opts.Seeds, Remembered: addresses(remembered), Keys: opts.Keys, Profile: opts.Profile, Logger: opts.Logger,
		Shared: sharer.Receive,
	})
	if err != nil {
		return err
	}
	stops.add(func() error { return leave(members) })

	server := xds.New(xds.Options{
		Logger: opts.Logger, TLS: enter.xdsTLS, Allows: enter.allows, Refused: enter.count,
		MaxClients: opts.Access.Clients, MaxStreams: opts.Access.Streams, MaxNames: opts.Access.Names,
	})
	prober := probe.New(probe.Options{
		Interval: opts.ProbeInterval,
		Ping: func(ctx context.Context, t probe.Target) bool {
			return t.Gossip.IsValid() && members.Ping(ctx, t.ID, t.Gossip)
		},
	})
	ackTimes := newAckTimes()
	observe := func(kind string, took time.Duration) { ackTimes.WithLabelValues(kind).Observe(took.Seconds()) }
	receipts := newReceipts(server.Standings, server.Acked(), members.SendReceipt, observe, opts.Logger)
	endings := newEndings(overrides, opts.Logger)
	hub := events.New(events.Options{Overrides: overrides.InForce, Clients: server.Clients})
	decisions := newLoop(loopOptions{
		pool: members, overrides: overrides, behind: sharer.Behind, prober: prober, logger: opts.Logger,
		registry: registry.Options{Guard: opts.Guard, GuardHold: opts.GuardHold, Round: max(registry.DefaultRound, 2*opts.ProbeInterval+registry.DefaultRound/2)},
		seeds:    len(opts.Seeds) > 0, remembered: remembered, probes: opts.ProbeInterval,
		publish: []func(*registry.Snapshot){
			server.Update, mem.update, receipts.update, endings.update, hub.Update,
			func(snap *registry.Snapshot) { sharer.Members(snap.Members) },
		},
	})
	metrics, err := newMetrics(decisions.Snapshot, server.Count, ackTimes, enter.refused)
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler: enter.guard(api.New(api.Options{
			Registry: decisions, Overrides: overrides, Discovery: server, Clients: server.Clients, Standings: server.Standings,
			Events:  hub.Subscribe,
			Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}), Logger: opts.Logger,
		}), opts.Access, opts.HTTP.Addr(), opts.Logger),
		TLSConfig:         enter.httpTLS,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}

	web.RegisterOnShutdown(hub.Close)

	failed := make(chan error, 3)
	if opts.Debug.IsValid() {
		if err := serveDebug(&stops, failed, opts); err != nil {
			return err
		}
	}
	stops.goRun(overrides.Run)
	stops.goRun(sharer.Run)
	stops.goRun(endings.run)
	stops.goRun(hub.Run)
	stops.goRun(prober.Run)
	stops.goRun(receipts.run)
	stops.goRun(decisions.run)
	stops.goRun(func(ctx context.Context) { remind(ctx, decisions.Snapshot, members.TellMissing, opts.Logger) })
	stops.goRun(mem.run)
	stops.goServe(failed, func(ctx context.Context) error { return server.Serve(ctx, xdsLis) })
	stops.goServe(failed, func(ctx context.Context) error { return serveHTTP(ctx, web, httpLis) })
	opts.Logger.Info("eds server runs", "http", httpLis.Addr(), "xds", xdsLis.Addr(),
		"gossip", members.Self().Gossip, "id", self.ID, "data_dir", opts.DataDir)
	select {
	case <-ctx.Done():
		opts.Logger.Info("stopping")
		return nil
	case err := <-failed:
		return err
	case err := <-members.Failed():
		return err
	}
}

// serveHTTP serves until ctx ends and lets requests in flight finish.
func serveHTTP(ctx context.Context, web *http.Server, lis net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStop)
		defer cancel()
		err := web.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) {
			err = web.Close()
		}
		stopped <- err
	})
	defer stop()
	serve := web.Serve
	if web.TLSConfig != nil {
		serve = func(lis net.Listener) error { return web.ServeTLS(lis, "", "") }
	}
	if err := serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return <-stopped
}

func leave(p *gossip.Pool) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveStop)
	defer cancel()
	return errors.Join(p.Leave(ctx), p.Close())
}
