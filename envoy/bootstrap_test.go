package envoy

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

// written returns what Bootstrap writes for o, read back the way Envoy does.
func written(t *testing.T, o Options) *bootstrapv3.Bootstrap {
	t.Helper()
	out, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	json, err := yaml.YAMLToJSON(out)
	if err != nil {
		t.Fatal(err)
	}
	boot := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(json, boot); err != nil {
		t.Fatal(err)
	}
	return boot
}

func clusterOf(t *testing.T, boot *bootstrapv3.Bootstrap, name string) *clusterv3.Cluster {
	t.Helper()
	clusters := boot.GetStaticResources().GetClusters()
	i := slices.IndexFunc(clusters, func(c *clusterv3.Cluster) bool { return c.GetName() == name })
	if i < 0 {
		t.Fatalf("no cluster %s", name)
	}
	return clusters[i]
}

func connectionManagerOf(t *testing.T, boot *bootstrapv3.Bootstrap) *hcmv3.HttpConnectionManager {
	t.Helper()
	hcm := new(hcmv3.HttpConnectionManager)
	filter := boot.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0]
	if err := filter.GetTypedConfig().UnmarshalTo(hcm); err != nil {
		t.Fatal(err)
	}
	return hcm
}

func TestEachAPIReachesTheServersInItsWay(t *testing.T) {
	tests := []struct {
		api      API
		wantType corev3.ApiConfigSource_ApiType
		wantADS  bool
		wantPort uint32
	}{
		{REST, corev3.ApiConfigSource_REST, false, 8080},
		{GRPC, corev3.ApiConfigSource_GRPC, false, 18000},
		{Delta, corev3.ApiConfigSource_DELTA_GRPC, false, 18000},
		{ADS, corev3.ApiConfigSource_GRPC, true, 18000},
		{DeltaADS, corev3.ApiConfigSource_DELTA_GRPC, true, 18000},
	}
	for _, tt := range tests {
		t.Run(string(tt.api), func(t *testing.T) {
			boot := written(t, Options{API: tt.api})
			config := clusterOf(t, boot, "service_backend").GetEdsClusterConfig().GetEdsConfig()
			if config.GetResourceApiVersion() != corev3.ApiVersion_V3 {
				t.Errorf("resource API version %v", config.GetResourceApiVersion())
			}
			source := config.GetApiConfigSource()
			if tt.wantADS {
				if config.GetAds() == nil {
					t.Errorf("eds config %v, want ads", config)
				}
				source = boot.GetDynamicResources().GetAdsConfig()
			} else if boot.GetDynamicResources() != nil {
				t.Errorf("dynamic resources %v without ADS", boot.GetDynamicResources())
			}
			if source.GetApiType() != tt.wantType || source.GetTransportApiVersion() != corev3.ApiVersion_V3 {
				t.Errorf("api config source %v, want %v in V3", source, tt.wantType)
			}
			server := clusterOf(t, boot, "xds_cluster").GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0]
			if port := server.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue(); port != tt.wantPort {
				t.Errorf("server port %d, want %d", port, tt.wantPort)
			}
		})
	}
}

func TestRESTPollsAtTheRefreshDelay(t *testing.T) {
	boot := written(t, Options{API: REST, RefreshDelay: 100 * time.Millisecond})
	source := clusterOf(t, boot, "service_backend").GetEdsClusterConfig().GetEdsConfig().GetApiConfigSource()
	if got := source.GetRefreshDelay().AsDuration(); got != 100*time.Millisecond {
		t.Errorf("refresh delay %s", got)
	}
	if xds := clusterOf(t, boot, "xds_cluster"); xds.GetTypedExtensionProtocolOptions() != nil {
		t.Error("the servers of REST are asked in HTTP/2")
	}
}

func TestStreamsRunOverHTTP2WithPings(t *testing.T) {
	xds := clusterOf(t, written(t, Options{API: GRPC}), "xds_cluster")
	options := new(httpv3.HttpProtocolOptions)
	packed := xds.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
	if err := packed.UnmarshalTo(options); err != nil {
		t.Fatal(err)
	}
	pings := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions().GetConnectionKeepalive()
	if pings.GetInterval().AsDuration() != pingInterval || pings.GetTimeout().AsDuration() != pingTimeout {
		t.Errorf("pings %v", pings)
	}
}

// An Envoy may have more clusters than the 1,024 requests that it allows by default.
func TestEachOfManyClustersIsServed(t *testing.T) {
	for _, api := range APIs() {
		limits := clusterOf(t, written(t, Options{API: api}), "xds_cluster").GetCircuitBreakers().GetThresholds()[0]
		for _, most := range []uint32{limits.GetMaxRequests().GetValue(), limits.GetMaxPendingRequests().GetValue(), limits.GetMaxConnections().GetValue()} {
			if most < 100_000 {
				t.Errorf("%s: limits %v", api, limits)
			}
		}
	}
}

func TestRemovalByEDSIsFirm(t *testing.T) {
	for _, api := range APIs() {
		boot := written(t, Options{API: api, Services: []string{"a", "b"}})
		for _, name := range []string{"service_backend", "b"} {
			c := clusterOf(t, boot, name)
			lb := c.GetCommonLbConfig()
			if lb.GetUpdateMergeWindow() == nil || lb.GetUpdateMergeWindow().AsDuration() != 0 {
				t.Errorf("%s %s: update merge window %v, want 0s", api, name, lb.GetUpdateMergeWindow())
			}
			if lb.GetHealthyPanicThreshold() == nil || lb.GetHealthyPanicThreshold().GetValue() != 0 {
				t.Errorf("%s %s: panic threshold %v, want 0", api, name, lb.GetHealthyPanicThreshold())
			}
			if !c.GetIgnoreHealthOnHostRemoval() {
				t.Errorf("%s %s: ignore_health_on_host_removal is off", api, name)
			}
		}
	}
}

func TestServersMayBeNamesOrAddresses(t *testing.T) {
	tests := []struct {
		name string
		eds  []string
		want clusterv3.Cluster_DiscoveryType
	}{
		{"addresses", []string{"10.0.0.1:18000", "[2001:db8::1]:18000"}, clusterv3.Cluster_STATIC},
		{"a name among them", []string{"10.0.0.1:18000", "eds-2.internal.:18000"}, clusterv3.Cluster_STRICT_DNS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			xds := clusterOf(t, written(t, Options{API: GRPC, EDS: tt.eds}), "xds_cluster")
			if xds.GetType() != tt.want {
				t.Errorf("type %v, want %v", xds.GetType(), tt.want)
			}
			if got := xds.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints(); len(got) != len(tt.eds) {
				t.Errorf("%d endpoints, want %d", len(got), len(tt.eds))
			}
		})
	}
}

func TestFirstServiceIsTheDefaultAndOthersGoByHost(t *testing.T) {
	boot := written(t, Options{API: GRPC, Services: []string{"web", "api"}})
	if got := clusterOf(t, boot, "service_backend").GetEdsClusterConfig().GetServiceName(); got != "web" {
		t.Errorf("service_backend asks for %q", got)
	}
	if got := clusterOf(t, boot, "api").GetEdsClusterConfig().GetServiceName(); got != "api" {
		t.Errorf("cluster api asks for %q", got)
	}
	got := make(map[string]string)
	for _, host := range connectionManagerOf(t, boot).GetRouteConfig().GetVirtualHosts() {
		for _, domain := range host.GetDomains() {
			got[domain] = host.GetRoutes()[0].GetRoute().GetCluster()
		}
	}
	want := map[string]string{"*": "service_backend", "api": "api", "api:*": "api"}
	if len(got) != len(want) || got["*"] != want["*"] || got["api"] != want["api"] || got["api:*"] != want["api:*"] {
		t.Errorf("domains %v, want %v", got, want)
	}
}

func TestRetriesGoToAnotherEndpointUnlessTurnedOff(t *testing.T) {
	routes := func(o Options) []*routev3.Route {
		return connectionManagerOf(t, written(t, o)).GetRouteConfig().GetVirtualHosts()[0].GetRoutes()
	}
	const always = "connect-failure,refused-stream,reset-before-request"
	retried := routes(Options{API: GRPC})
	if len(retried) != 2 || len(retried[0].GetMatch().GetHeaders()) != 1 {
		t.Fatalf("routes %v, want one for the safe methods and one for all", retried)
	}
	for i, on := range []string{always + ",reset", always} {
		p := retried[i].GetRoute().GetRetryPolicy()
		if p.GetRetryOn() != on || p.GetHostSelectionRetryMaxAttempts() == 0 ||
			len(p.GetRetryHostPredicate()) != 1 || p.GetRetryHostPredicate()[0].GetName() != "envoy.retry_host_predicates.previous_hosts" {
			t.Errorf("retry policy %d is %v", i, p)
		}
	}
	for _, r := range routes(Options{API: GRPC, NoRetries: true}) {
		if p := r.GetRoute().GetRetryPolicy(); p != nil {
			t.Errorf("retry policy %v with retries off", p)
		}
	}
}

func TestAccessLogIsWrittenOnlyWhenAskedFor(t *testing.T) {
	if got := connectionManagerOf(t, written(t, Options{API: GRPC})).GetAccessLog(); got != nil {
		t.Errorf("access log %v by default", got)
	}
	if got := connectionManagerOf(t, written(t, Options{API: GRPC, AccessLog: true})).GetAccessLog(); len(got) != 1 {
		t.Errorf("access log %v when asked for", got)
	}
}

func TestEqualOptionsGiveEqualBytes(t *testing.T) {
	o := Options{API: DeltaADS, EDS: []string{"b:1", "a:1"}, Services: []string{"x", "z", "y"}}
	first, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := Bootstrap(o); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("differs (%v):\n%s", err, again)
		}
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	long := strings.Repeat("x", 201)
	addr := netip.MustParseAddrPort
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no api", Options{}, `api "" is none of rest, grpc, delta, ads, delta-ads`},
		{"another api", Options{API: "soap"}, `api "soap"`},
		{"server without port", Options{API: GRPC, EDS: []string{"10.0.0.1"}}, `"10.0.0.1" is not host:port`},
		{"server without host", Options{API: GRPC, EDS: []string{":18000"}}, `":18000" is not host:port`},
		{"server port 0", Options{API: GRPC, EDS: []string{"eds:0"}}, "port must be 1 to 65535"},
		{"server port 65536", Options{API: GRPC, EDS: []string{"eds:65536"}}, "port must be 1 to 65535"},
		{"server port by name", Options{API: GRPC, EDS: []string{"eds:http"}}, "port must be 1 to 65535"},
		{"server with scheme", Options{API: REST, EDS: []string{"http://eds:80"}}, "is not host:port"},
		{"server with odd name", Options{API: REST, EDS: []string{"e ds:80"}}, "neither an IP address nor a DNS name"},
		{"server with mistyped IP address", Options{API: REST, EDS: []string{"10.0.0.256:80"}}, "neither an IP address nor a DNS name"},
		{"server on every interface", Options{API: GRPC, EDS: []string{"0.0.0.0:18000"}}, "every interface"},
		{"server twice", Options{API: GRPC, EDS: []string{"eds:1", "EDS:1"}}, "given twice"},
		{"empty service", Options{API: GRPC, Services: []string{""}}, "service name is empty"},
		{"service with slash", Options{API: GRPC, Services: []string{"a/b"}}, "contains a slash"},
		{"long service", Options{API: GRPC, Services: []string{long}}, "201 bytes"},
		{"service twice", Options{API: GRPC, Services: []string{"a", "b", "A"}}, `service "A" is given twice`},
		{"service that no Host can name", Options{API: GRPC, Services: []string{"a", "b,c"}}, `"b,c" cannot be asked for`},
		{"service that matches others", Options{API: GRPC, Services: []string{"a", "*.b"}}, `"*.b" cannot be asked for`},
		{"service with a cluster's name", Options{API: GRPC, Services: []string{"a", "xds_cluster"}}, "name of a cluster"},
		{"node id", Options{API: GRPC, NodeID: "a\nb"}, "node id"},
		{"node cluster", Options{API: GRPC, NodeCluster: "\xff"}, "node cluster"},
		{"listener with zone", Options{API: GRPC, Listener: addr("[fe80::1%eth0]:80")}, "listener address"},
		{"one address for two", Options{API: GRPC, Listener: addr("127.0.0.1:9901")}, "listener and admin are both"},
		{"refresh delay", Options{API: REST, RefreshDelay: time.Millisecond}, "refresh delay is 1ms, give 10ms to 1h"},
		{"connect timeout", Options{API: REST, ConnectTimeout: -time.Second}, "connect timeout is -1s"},
		{"initial fetch timeout", Options{API: REST, InitialFetchTimeout: 2 * time.Hour}, "initial fetch timeout is 2h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := Bootstrap(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if out != nil {
				t.Errorf("wrote %q all the same", out)
			}
		})
	}
}

func TestParseAPIKnowsItsNames(t *testing.T) {
	for _, want := range APIs() {
		if got, err := ParseAPI(string(want)); got != want || err != nil {
			t.Errorf("ParseAPI(%q) = %q, %v", want, got, err)
		}
	}
	if _, err := ParseAPI("GRPC"); err == nil {
		t.Error("ParseAPI takes GRPC")
	}
}
