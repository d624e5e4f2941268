package upstream

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// Defaults of the options.
const (
	DefaultDrainTimeout    = 10 * time.Second
	DefaultShutdownTimeout = 10 * time.Second
)

// Option changes how an upstream registers, drains and stops.
type Option func(*options)

type options struct {
	id        uuid.UUID      // zero: a new one
	advertise netip.AddrPort // of the endpoint; invalid: the listener's own address
	probe     fleet.Probe
	health    func(context.Context) error // nil: always healthy

	seeds           []string
	gossip          netip.AddrPort // invalid: the listener's IP, port 0
	gossipAdvertise netip.AddrPort // invalid: what gossip is bound to
	keys            [][]byte
	fleet           string
	profile         gossip.Profile
	trust           trust

	drainTimeout    time.Duration
	shutdownTimeout time.Duration
	log             *slog.Logger
}

func newOptions(opts []Option) options {
	o := options{
		probe:           fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
		drainTimeout:    DefaultDrainTimeout,
		shutdownTimeout: DefaultShutdownTimeout,
		log:             slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// WithID sets the first id of the registration. It must be new: EDS servers would mistake a
// process with a used id for the earlier one.
func WithID(id uuid.UUID) Option {
	return func(o *options) { o.id = id }
}

// WithSeeds names members to join through, as host:port or ip:port; usually the
// EDS servers' gossip addresses. Seeds that do not answer are retried for as long
// as the registration lasts.
func WithSeeds(seeds ...string) Option {
	return func(o *options) { o.seeds = slices.Clone(seeds) }
}

// WithAdvertise sets the address at which Envoy reaches the endpoint, for a
// listener on 0.0.0.0 or behind address translation. Port 0 stands for the
// listener's port.
func WithAdvertise(addr netip.AddrPort) Option {
	return func(o *options) { o.advertise = addr }
}

// WithGossip sets the address to gossip at, for UDP and TCP; port 0 picks a free
// port. The default is the listener's IP address (the advertised one when the
// listener is on every interface) and port 0.
func WithGossip(bind netip.AddrPort) Option {
	return func(o *options) { o.gossip = bind }
}

// WithGossipAdvertise sets the gossip address that is announced to other members, for a bind
// address of 0.0.0.0 or behind address translation.
func WithGossipAdvertise(addr netip.AddrPort) Option {
	return func(o *options) { o.gossipAdvertise = addr }
}

// WithKeys encrypts gossip. Keys are 16, 24 or 32 bytes long; the first one
// encrypts, all of them decrypt.
func WithKeys(keys ...[]byte) Option {
	return func(o *options) { o.keys = slices.Clone(keys) }
}

// WithFleet sets the name of the fleet. Members of different fleets ignore each other.
func WithFleet(name string) Option {
	return func(o *options) { o.fleet = name }
}

// WithProfile sets how fast gossip detects a crash, and at what cost. The default is
// [gossip.LAN]. All members of a fleet need the same one.
func WithProfile(p gossip.Profile) Option {
	return func(o *options) { o.profile = p }
}

// WithHealthPath sets the path of the HTTP health probe, which begins with a slash. The
// default is [fleet.DefaultHealthPath].
func WithHealthPath(path string) Option {
	return func(o *options) { o.probe.Kind, o.probe.Path = fleet.ProbeHTTP, path }
}

// WithChecks sets the interval and the timeout of checks by EDS servers. If another process
// serves the endpoint, the EDS servers share the interval. Both are whole milliseconds up to
// [fleet.MaxCheck]; the interval is at least [fleet.MinInterval]. 0 is the default and leaves
// the value to the EDS servers.
func WithChecks(interval, timeout time.Duration) Option {
	return func(o *options) { o.probe.Interval, o.probe.Timeout = interval, timeout }
}

// WithProbe sets how EDS servers may probe an endpoint that does not speak HTTP:
// [fleet.ProbeTCP], or [fleet.ProbeNone] to rely only on the announced health.
func WithProbe(kind fleet.ProbeKind) Option {
	return func(o *options) {
		o.probe.Kind, o.probe.Path = kind, ""
		if kind == fleet.ProbeHTTP {
			o.probe.Path = fleet.DefaultHealthPath
		}
	}
}

// WithHealth sets a function that is called for each request to the health path, on that
// request's goroutine and with its context. An error means unhealthy; its text is the body
// of the response.
func WithHealth(check func(context.Context) error) Option {
	return func(o *options) { o.health = check }
}

// WithDrainTimeout bounds how long a drain waits until every Envoy has removed the endpoint;
// after that the upstream stops anyway. 0 does not wait. The default is
// [DefaultDrainTimeout].
func WithDrainTimeout(d time.Duration) Option {
	return func(o *options) { o.drainTimeout = d }
}

// WithShutdownTimeout bounds how long after the drain requests in flight may take to
// finish, and upgraded connections, such as websockets, may stay open. The default is
// [DefaultShutdownTimeout].
func WithShutdownTimeout(d time.Duration) Option {
	return func(o *options) { o.shutdownTimeout = d }
}

// WithLogger sets the logger. The default discards.
func WithLogger(log *slog.Logger) Option {
	return func(o *options) { o.log = log }
}
