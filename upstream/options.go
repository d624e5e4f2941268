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

// WithID sets the id that the registration begins with, which must be new: a process that
// starts again under an id is taken for the one before.
func WithID(id uuid.UUID) Option {
	return func(o *options) { o.id = id }
}

// WithSeeds names members to join through, as host:port or ip:port; usually the
// EDS servers' gossip addresses. Seeds that are away are tried again for as long
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

// WithGossipAdvertise sets the gossip address that other members are told, for
// a bind address of 0.0.0.0 or behind address translation.
func WithGossipAdvertise(addr netip.AddrPort) Option {
	return func(o *options) { o.gossipAdvertise = addr }
}

// WithKeys encrypts gossip. Keys are 16, 24 or 32 bytes long; the first one
// encrypts, all of them decrypt.
func WithKeys(keys ...[]byte) Option {
	return func(o *options) { o.keys = slices.Clone(keys) }
}

// WithFleet sets the name of the fleet. Members of other fleets are not let in,
// and do not let this one in.
func WithFleet(name string) Option {
	return func(o *options) { o.fleet = name }
}

// WithProfile sets how fast gossip sees a crash, and at what cost. The default is
// [gossip.LAN]. Give all members of a fleet the same one.
func WithProfile(p gossip.Profile) Option {
	return func(o *options) { o.profile = p }
}

// WithHealthPath sets where the endpoint is probed over HTTP, a path beginning
// with a slash. The default is [fleet.DefaultHealthPath].
func WithHealthPath(path string) Option {
	return func(o *options) { o.probe.Kind, o.probe.Path = fleet.ProbeHTTP, path }
}

// WithChecks sets the interval between two checks of the endpoint by EDS servers, all of
// them together where another process serves it, and the time-out of each: whole
// milliseconds, [fleet.MinInterval] and 1 ms to [fleet.MaxCheck]. 0 leaves them to the EDS
// servers, which is the default.
func WithChecks(interval, timeout time.Duration) Option {
	return func(o *options) { o.probe.Interval, o.probe.Timeout = interval, timeout }
}

// WithProbe sets how the endpoint may be probed when it does not speak HTTP:
// [fleet.ProbeTCP], or [fleet.ProbeNone] for going by what is published alone.
func WithProbe(kind fleet.ProbeKind) Option {
	return func(o *options) {
		o.probe.Kind, o.probe.Path = kind, ""
		if kind == fleet.ProbeHTTP {
			o.probe.Path = fleet.DefaultHealthPath
		}
	}
}

// WithHealth sets a function that is asked for each request to the health path,
// from that request's goroutine and with its context. An error means unhealthy;
// its text is the body of the answer.
func WithHealth(check func(context.Context) error) Option {
	return func(o *options) { o.health = check }
}

// WithDrainTimeout bounds how long a drain waits for the Envoys to let go; after
// it the upstream stops all the same. 10 s by default; 0 is no wait at all.
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
