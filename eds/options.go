package eds

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// Options configure an EDS server. A zero value means the default that DefaultOptions
// shows; a negative Guard, Rate or DiscoveryRate means none.
type Options struct {
	HTTP      netip.AddrPort // API, console, REST discovery
	XDS       netip.AddrPort // gRPC discovery
	Gossip    netip.AddrPort
	Advertise netip.AddrPort // gossip address that other members use; zero: Gossip
	Seeds     []string       // gossip addresses of members to join, HOST:PORT
	Fleet     string         // name of the pool
	Keys      [][]byte       // gossip keys; the first one encrypts. None: gossip is not encrypted
	KeyFile   string         // file of Keys, followed and written when keys are rotated
	Profile   gossip.Profile
	Trust     Trust
	DataDir   string // folder of the database, made if it is missing
	Recover   bool   // move a damaged database aside and start with a new one
	Access    Access
	Debug     netip.AddrPort // loopback address of profiles and channelz; zero: none

	ProbeInterval time.Duration // between two probes of an endpoint: 100 ms to 1 minute
	Guard         float64       // share of a service that may stop answering at once, up to 1; negative: no guard
	GuardHold     time.Duration // the longest that the guard keeps endpoints in service

	ShutdownTimeout time.Duration // for all of a stop

	Logger *slog.Logger
}

// TLSFiles are the PEM files of one port. They are read again when they change.
type TLSFiles = certs.Files

// Access configures who may use the ports of an EDS server, and how much each client may ask for.
type Access struct {
	HTTP, XDS TLSFiles

	Tokens             string   // file of bearer tokens; "": none
	Viewers, Operators []string // client certificates at the HTTP port, by SPIFFE id or common name
	Hosts              []string // further values of the Host header that the HTTP port answers; "*": any
	Policy             string   // file that names the services each Envoy may read; "": each may read all

	Rate          int // HTTP requests per second and address, without discovery; negative: no limit
	DiscoveryRate int // discovery requests over REST per second and address; negative: no limit
	Connections   int // of one address at each port

	Clients      int   // streams and polling clients together
	Streams      int   // of one connection
	Names        int   // of services in one subscription
	NameBytes    int   // of these names
	RequestBytes int64 // of all discovery requests being read
	CutExpired   bool  // end streams of clients whose certificate has expired

	Overrides int // overrides in force
	Readers   int // of events
}

// Trust says whom an EDS server believes, and how much of it.
type Trust struct {
	AllowAddresses []netip.Prefix      // endpoints may be there although their member gossips elsewhere
	ServiceKeys    string              // file of the keys of services; "": any member may serve any service
	EDSKey         ed25519.PrivateKey  // nil: EDS servers need no proof
	EDSPublic      []ed25519.PublicKey // further keys of EDS servers, while one replaces another
	Bounds         gossip.Bounds       // of the pool
	MaxServices    int                 // that members may bring
	MaxEndpoints   int                 // of one service
}

// edsKeys are all keys by which an EDS server may prove that it is one.
func (t Trust) edsKeys() []ed25519.PublicKey {
	if t.EDSKey == nil {
		return t.EDSPublic
	}
	return append([]ed25519.PublicKey{t.EDSKey.Public().(ed25519.PublicKey)}, t.EDSPublic...)
}

// DefaultOptions returns the options with every default filled in.
func DefaultOptions() Options { return Options{}.withDefaults() }

func (o Options) withDefaults() Options {
	o.HTTP = or(o.HTTP, "127.0.0.1:8080")
	o.XDS = or(o.XDS, "127.0.0.1:18000")
	o.Gossip = or(o.Gossip, "127.0.0.1:7946")
	o.Fleet = cmp.Or(o.Fleet, gossip.DefaultFleet)
	o.Trust.Bounds = o.Trust.Bounds.WithDefaults()
	o.Trust.MaxServices = cmp.Or(o.Trust.MaxServices, admit.DefaultMaxServices)
	o.Trust.MaxEndpoints = cmp.Or(o.Trust.MaxEndpoints, admit.DefaultMaxEndpoints)
	o.ProbeInterval = cmp.Or(o.ProbeInterval, probe.DefaultInterval)
	o.Guard = cmp.Or(o.Guard, registry.DefaultGuard)
	o.GuardHold = cmp.Or(o.GuardHold, registry.DefaultGuardHold)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 25*time.Second) // Kubernetes waits for 30 s
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Access = o.Access.withDefaults()
	return o
}

func (a Access) withDefaults() Access {
	a.Rate = cmp.Or(a.Rate, middleware.DefaultRate)
	a.DiscoveryRate = cmp.Or(a.DiscoveryRate, middleware.DefaultDiscoveryRate)
	a.Connections = cmp.Or(a.Connections, middleware.DefaultMaxConnections)
	a.Clients = cmp.Or(a.Clients, xds.DefaultMaxClients)
	a.Streams = cmp.Or(a.Streams, xds.DefaultMaxStreams)
	a.Names = cmp.Or(a.Names, xds.DefaultMaxNames)
	a.NameBytes = cmp.Or(a.NameBytes, xds.DefaultMaxNameBytes)
	a.RequestBytes = cmp.Or(a.RequestBytes, xds.DefaultMaxRequestBytes)
	a.Overrides = cmp.Or(a.Overrides, override.DefaultMaxInForce)
	a.Readers = cmp.Or(a.Readers, events.DefaultMaxReaders)
	return a
}

// or returns the default address in place of none.
func or(addr netip.AddrPort, byDefault string) netip.AddrPort {
	if addr.IsValid() {
		return addr
	}
	return netip.MustParseAddrPort(byDefault)
}

// Check returns an error that names each option with which no server can run.
func (o Options) Check() error {
	o = o.withDefaults()
	var errs []error
	if o.DataDir == "" {
		errs = append(errs, errors.New("option DataDir is empty: name a folder"))
	}
	if o.Debug.IsValid() && !o.Debug.Addr().Unmap().IsLoopback() {
		errs = append(errs, fmt.Errorf("option Debug %s can be reached from other machines, and profiles hold secrets: give a loopback address", o.Debug))
	}
	if o.Guard > 1 {
		errs = append(errs, fmt.Errorf("option Guard is %v: want 0 to 1", o.Guard))
	}
	if o.ProbeInterval < 100*time.Millisecond || o.ProbeInterval > time.Minute {
		errs = append(errs, fmt.Errorf("option ProbeInterval is %s: want 100ms to 1m", o.ProbeInterval))
	}
	return errors.Join(errs...)
}
