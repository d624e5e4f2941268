package envoy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// API is how Envoy asks the EDS servers for endpoints.
type API string

// The APIs an EDS server speaks.
const (
	REST     API = "rest"      // polls over HTTP
	GRPC     API = "grpc"      // one state-of-the-world stream for each cluster
	Delta    API = "delta"     // one incremental stream for each cluster
	ADS      API = "ads"       // one state-of-the-world stream for all clusters
	DeltaADS API = "delta-ads" // one incremental stream for all clusters
)

// APIs returns every API.
func APIs() []API { return []API{REST, GRPC, Delta, ADS, DeltaADS} }

// ParseAPI returns the API called s.
func ParseAPI(s string) (API, error) {
	if slices.Contains(APIs(), API(s)) {
		return API(s), nil
	}
	names := make([]string, 0, len(APIs()))
	for _, a := range APIs() {
		names = append(names, string(a))
	}
	return "", fmt.Errorf("api %q is none of %s", s, strings.Join(names, ", "))
}

// The defaults of Options; the ones of the addresses fit an EDS server's own.
const (
	DefaultGRPCServer          = "127.0.0.1:18000"
	DefaultRESTServer          = "127.0.0.1:8080"
	DefaultService             = "myservice"
	DefaultNodeID              = "envoy"
	DefaultNodeCluster         = "rollcall"
	DefaultListener            = "127.0.0.1:10000"
	DefaultAdmin               = "127.0.0.1:9901"
	DefaultRefreshDelay        = time.Second
	DefaultConnectTimeout      = 500 * time.Millisecond
	DefaultInitialFetchTimeout = 15 * time.Second
)

// Options say what a bootstrap holds. A zero field means its default; only API
// has none.
type Options struct {
	API      API
	EDS      []string // the EDS servers, host:port; a host is an IP address or a DNS name
	Services []string // the first is what every Host reaches, the others are reached by their name as Host

	NodeID      string // how this Envoy is called at the EDS servers; give each its own
	NodeCluster string

	TLS TLS // to the EDS servers

	Listener netip.AddrPort // port 0 takes any free port
	Admin    netip.AddrPort // port 0 takes any free port

	RefreshDelay   time.Duration // between two polls of REST, MinRefreshDelay to an hour; Envoy adds a random share of it
	ConnectTimeout time.Duration // for a connection to an endpoint or an EDS server, 1 ms to a minute

	// InitialFetchTimeout is how long Envoy keeps its listener closed while no EDS
	// server has answered, 1 ms to an hour. The default outlasts the 10 s for which
	// a starting EDS server may stay silent: the port opens with endpoints behind it.
	InitialFetchTimeout time.Duration

	NoRetries bool // pass every failure on to the caller
	AccessLog bool // one line for each request, on Envoy's standard output
}

// MinRefreshDelay is the shortest RefreshDelay.
const MinRefreshDelay = 10 * time.Millisecond

func (o Options) withDefaults() Options {
	if len(o.EDS) == 0 && o.API == REST {
		o.EDS = []string{DefaultRESTServer}
	}
	if len(o.EDS) == 0 {
		o.EDS = []string{DefaultGRPCServer}
	}
	if len(o.Services) == 0 {
		o.Services = []string{DefaultService}
	}
	fill(&o.NodeID, DefaultNodeID)
	fill(&o.NodeCluster, DefaultNodeCluster)
	fill(&o.Listener, netip.MustParseAddrPort(DefaultListener))
	fill(&o.Admin, netip.MustParseAddrPort(DefaultAdmin))
	fill(&o.RefreshDelay, DefaultRefreshDelay)
	fill(&o.ConnectTimeout, DefaultConnectTimeout)
	fill(&o.InitialFetchTimeout, DefaultInitialFetchTimeout)
	return o
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
