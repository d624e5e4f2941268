package envoy

import (
	"errors"
	"fmt"
	"net/netip"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// The clusters that every bootstrap holds.
const (
	backendCluster = "service_backend" // the first service
	xdsCluster     = "xds_cluster"     // the EDS servers
)

// maxConnections bounds how many clients one Envoy serves at a time; without a
// bound Envoy warns, and a flood ends in a lack of file descriptors.
const maxConnections = 50_000

// Bootstrap returns the YAML with which an Envoy serves o.Services from what the
// EDS servers tell it. Equal options give equal bytes. The error joins everything
// that is wrong with o.
func Bootstrap(o Options) ([]byte, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &builder{Options: o}
	boot := b.bootstrap()
	if err := errors.Join(b.err, boot.ValidateAll()); err != nil {
		return nil, fmt.Errorf("envoy bootstrap: %w", err)
	}
	json, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(boot)
	if err != nil {
		return nil, fmt.Errorf("encode envoy bootstrap: %w", err)
	}
	out, err := yaml.JSONToYAML(json)
	if err != nil {
		return nil, fmt.Errorf("encode envoy bootstrap: %w", err)
	}
	return out, nil
}

// builder turns checked options into protos; err joins what could not be packed.
type builder struct {
	Options
	err error
}

func (b *builder) bootstrap() *bootstrapv3.Bootstrap {
	boot := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: b.NodeID, Cluster: b.NodeCluster},
		Admin: &bootstrapv3.Admin{Address: socket(b.Admin)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{b.listener()},
			Clusters:  []*clusterv3.Cluster{b.xdsCluster()},
		},
		OverloadManager: b.overload(),
	}
	for i, service := range b.Services {
		boot.StaticResources.Clusters = append(boot.StaticResources.Clusters, b.serviceCluster(clusterName(i, service), service))
	}
	if b.API == ADS || b.API == DeltaADS {
		boot.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: b.apiConfig()}
	}
	return boot
}

// clusterName names the cluster of the i-th service.
func clusterName(i int, service string) string {
	if i == 0 {
		return backendCluster
	}
	return service
}

func (b *builder) overload() *overloadv3.OverloadManager {
	return &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
		Name: "envoy.resource_monitors.global_downstream_max_connections",
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.any(
			&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections},
		)},
	}}}
}

// any packs and validates m: validation of the message around it stops at an Any.
func (b *builder) any(m interface {
	proto.Message
	ValidateAll() error
}) *anypb.Any {
	packed, err := anypb.New(m)
	b.err = errors.Join(b.err, m.ValidateAll(), err)
	return packed
}

func socket(addr netip.AddrPort) *corev3.Address {
	return hostSocket(addr.Addr().String(), addr.Port())
}

func hostSocket(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
