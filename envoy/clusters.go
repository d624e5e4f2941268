package envoy

import (
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// How Envoy keeps its streams to the EDS servers.
const (
	// Envoy pings at this interval plus up to 15 %, and gives up a connection that
	// does not answer: it then asks another EDS server. Together they bound how long
	// an Envoy stays with an EDS server that hangs.
	pingInterval = 2 * time.Second
	pingTimeout  = time.Second

	// Envoy's own 500 ms to 30 s would leave it on old endpoints long after an EDS
	// server is back.
	reconnectBase = 200 * time.Millisecond
	reconnectMax  = 2 * time.Second

	// An EDS server answers a poll from memory.
	pollTimeout = time.Second

	// Each cluster holds one stream unless ADS is used, or polls on a connection of its
	// own; at Envoy's default of 1,024 further ones would wait for ever.
	maxStreams = 1_000_000
)

// maxRetries bounds the retries under way at one time for a service. Envoy's
// default of 3 fails requests when a busy endpoint dies.
const maxRetries = 1024

// serviceCluster gets its endpoints from EDS. When EDS drops an endpoint, it gets
// no further request, whatever health checks say and however few are left.
func (b *builder) serviceCluster(name, service string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{ServiceName: service, EdsConfig: b.edsConfig()},
		ConnectTimeout:       durationpb.New(b.ConnectTimeout),
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			HealthyPanicThreshold: &typev3.Percent{Value: 0},
			UpdateMergeWindow:     durationpb.New(0),
		},
		IgnoreHealthOnHostRemoval: true,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxRetries: wrapperspb.UInt32(maxRetries),
		}}},
	}
}

func (b *builder) edsConfig() *corev3.ConfigSource {
	source := &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(b.InitialFetchTimeout),
	}
	if b.API == ADS || b.API == DeltaADS {
		source.ConfigSourceSpecifier = &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}
	} else {
		source.ConfigSourceSpecifier = &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: b.apiConfig()}
	}
	return source
}

// apiConfig says how to reach the EDS servers: for one cluster, or with ADS for all.
func (b *builder) apiConfig() *corev3.ApiConfigSource {
	source := &corev3.ApiConfigSource{TransportApiVersion: corev3.ApiVersion_V3}
	if b.API == REST {
		source.ApiType = corev3.ApiConfigSource_REST
		source.ClusterNames = []string{xdsCluster}
		source.RefreshDelay = durationpb.New(b.RefreshDelay)
		source.RequestTimeout = durationpb.New(pollTimeout)
		return source
	}
	source.ApiType = corev3.ApiConfigSource_GRPC
	if b.API == Delta || b.API == DeltaADS {
		source.ApiType = corev3.ApiConfigSource_DELTA_GRPC
	}
	source.SetNodeOnFirstMessageOnly = true
	source.GrpcServices = []*corev3.GrpcService{{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
			ClusterName: xdsCluster,
			RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
				BaseInterval: durationpb.New(reconnectBase),
				MaxInterval:  durationpb.New(reconnectMax),
			}},
		}},
	}}
	return source
}

// xdsCluster holds the EDS servers, which all answer alike.
func (b *builder) xdsCluster() *clusterv3.Cluster {
	cluster := &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(b.ConnectTimeout),
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: xdsCluster},
		TransportSocket:      b.transportSocket(),
		CircuitBreakers:      requestLimits(),
	}
	var endpoints []*endpointv3.LbEndpoint
	for _, s := range b.EDS {
		host, port, _ := splitServer(s) // check has split it before
		if _, err := netip.ParseAddr(host); err != nil {
			cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
			cluster.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
		}
		endpoints = append(endpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: hostSocket(host, port)},
		}})
	}
	cluster.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}}
	if b.API != REST {
		cluster.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.any(http2WithPings()),
		}
	}
	return cluster
}

func requestLimits() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     wrapperspb.UInt32(maxStreams),
		MaxPendingRequests: wrapperspb.UInt32(maxStreams),
		MaxRequests:        wrapperspb.UInt32(maxStreams),
	}}}
}

func http2WithPings() *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
					Interval: durationpb.New(pingInterval),
					Timeout:  durationpb.New(pingTimeout),
				}},
			},
		},
	}}
}
