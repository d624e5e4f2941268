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
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/rollcall-fleet/rollcall/eds/api"
	"github.com/rollcall-fleet/rollcall/eds/override"
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
	lockWait  = 5 * time.Second // for the database, which a predecessor may still be closing
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
	KeyFile   string // of Keys, written when they are rotated
	Profile   gossip.Profile
	Trust     Trust
	DataDir   string // made when missing

	ProbeInterval time.Duration // between two probes of an endpoint; 0 stands for 1 s
	Guard         float64       // see registry.Options
	GuardHold     time.Duration

	Logger *slog.Logger
}

// Run serves until ctx ends, then stops everything in reverse order, each wait
// bounded. It returns an error when a listen address cannot be had, when the data
// directory cannot be used, and when a part fails.
func Run(ctx context.Context, opts Options) (err error) {
	var stops stopper
	defer func() { err = errors.Join(err, stops.stop()) }()

	db, err := openDB(opts.DataDir)
	if err != nil {
		return err
	}
	stops.add(db.Close)
	overrides, err := override.NewStore(db)
	if err != nil {
		return err
	}
	httpLis, err := listen("--http", opts.HTTP)
	if err != nil {
		return err
	}
	stops.add(closing(httpLis))
	xdsLis, err := listen("--xds", opts.XDS)
	if err != nil {
		return err
	}
	stops.add(closing(xdsLis))

	self := fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion}
	mem := newMemory(db, self.ID, opts.Logger)
	remembered, err := mem.recall()
	if err != nil {
		return err
	}
	members, err := gossip.Start(gossip.Options{
		Member: self, Fleet: opts.Fleet, Bind: opts.Gossip, Advertise: opts.Advertise,
		Seeds: opts.Seeds, Remembered: addresses(remembered), Keys: opts.Keys, Profile: opts.Profile, Logger: opts.Logger,
		KeyFile: opts.KeyFile, SigningKey: opts.Trust.EDSKey, EDSKeys: opts.Trust.edsKeys(), Bounds: opts.Trust.Bounds,
	})
	if err != nil {
		return err
	}
	stops.add(func() error { return leave(members) })
	admission, err := newAdmission(opts.Trust, opts.Fleet, members.Vouch, remembered, opts.Logger)
	if err != nil {
		return err
	}

	server := xds.New(xds.Options{Logger: opts.Logger})
	prober := probe.New(probe.Options{
		Interval: opts.ProbeInterval,
		Ping: func(ctx context.Context, t probe.Target) bool {
			return t.Gossip.IsValid() && members.Ping(ctx, t.ID, t.Gossip)
		},
	})
	ackTimes := newAckTimes()
	observe := func(kind string, took time.Duration) { ackTimes.WithLabelValues(kind).Observe(took.Seconds()) }
	receipts := newReceipts(server.Standings, server.Acked(), members.SendReceipt, observe, opts.Logger)
	decisions := newLoop(loopOptions{
		pool: members, overrides: overrides, prober: prober, admission: admission, logger: opts.Logger,
		registry: registry.Options{Guard: opts.Guard, GuardHold: opts.GuardHold, Round: max(registry.DefaultRound, 2*opts.ProbeInterval+registry.DefaultRound/2)},
		seeds:    len(opts.Seeds) > 0, remembered: remembered,
		publish: []func(*registry.Snapshot){server.Update, mem.update, receipts.update},
	})
	metrics, err := newMetrics(decisions.Snapshot, server.Clients, ackTimes)
	if err != nil {
		return err
	}
	if err := errors.Join(metrics.Register(admission.total), metrics.Register(refusals{admission, members.Refused, opts.Trust.bounds()})); err != nil {
		return err
	}
	web := &http.Server{
		Handler: api.New(api.Options{
			Registry: decisions, Overrides: overrides, Discovery: server, Clients: server.Clients, Standings: server.Standings,
			Keys:    keyring{members},
			Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}), Logger: opts.Logger,
		}),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}

	failed := make(chan error, 2)
	stops.goRun(prober.Run)
	stops.goRun(admission.run)
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

func openDB(dir string) (*bbolt.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make --data-dir: %w", err)
	}
	path := filepath.Join(dir, "rollcall.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("--data-dir %s is in use by another eds server, give each its own", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func listen(flag string, addr netip.AddrPort) (net.Listener, error) {
	lis, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", flag, addr, err)
	}
	return lis, nil
}

// closing closes a listener that its server may have closed already.
func closing(lis net.Listener) func() error {
	return func() error {
		if err := lis.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
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
	if err := web.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return <-stopped
}

func leave(p *gossip.Pool) error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveStop)
	defer cancel()
	return errors.Join(p.Leave(ctx), p.Close())
}
