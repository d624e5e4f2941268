package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The type URLs of a load assignment. The messages are alike in every field that
// is used here, so that one encoding serves both.
const (
	typeV3 = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	typeV2 = "type.googleapis.com/envoy.api.v2.ClusterLoadAssignment"
)

// The filter_metadata keys of an endpoint.
const (
	metadataLB       = "envoy.lb" // what subset load balancing selects by
	metadataRollcall = "rollcall" // {"id": the member's uuid}
)

// assignment is one service, encoded once. It is immutable, and its bytes are
// shared by every stream and every poll.
type assignment struct {
	name     string
	version  string   // derived from the bytes alone: equal on every EDS server with the same fleet
	hosts    []served // what it was built from
	gone     []departure
	resource *discoveryv3.Resource
	json     func() ([]byte, error) // without an "@type"; made when first asked for
}

// encode builds and encodes the assignment of a service. The hosts must have
// passed sift and are kept.
func encode(name string, hosts []served) (*assignment, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(loadAssignment(name, hosts))
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	version := contentVersion(b)
	return &assignment{
		name: name, version: version, hosts: hosts,
		resource: &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typeV3, Value: b}},
		json:     sync.OnceValues(func() ([]byte, error) { return toJSON(b) }),
	}, nil
}

// empty is the assignment of a service that nobody serves. Envoy takes a missing
// resource for "no news", so nobody is said with an assignment of no endpoints.
func empty(name string) *assignment {
	a, err := encode(name, nil)
	if err != nil { // the name is not UTF-8, which only the path of a v1 request lets in
		return &assignment{name: name, resource: &discoveryv3.Resource{Resource: &anypb.Any{TypeUrl: typeV3}}, json: func() ([]byte, error) { return nil, err }}
	}
	return a
}

// contentVersion names content by 64 bits of its SHA-256.
func contentVersion(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// toJSON turns an encoded assignment into compact JSON with the field names of
// the .proto files, which Envoys of all ages read.
func toJSON(b []byte) ([]byte, error) {
	var cla endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(b, &cla); err != nil {
		return nil, fmt.Errorf("read an encoded assignment: %w", err)
	}
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&cla)
	if err != nil {
		return nil, fmt.Errorf("write an assignment as JSON: %w", err)
	}
	return json.Marshal(json.RawMessage(j)) // protojson's white space differs from build to build
}

// sift parts the hosts that may be given to Envoy from those that may not, since
// Envoy rejects a whole assignment for one bad endpoint. The error names each
// host that was left out and why.
func sift(s registry.Service) ([]registry.Host, error) {
	var good []registry.Host
	var errs []error
	for _, h := range s.Served() {
		if err := h.Check(); err != nil {
			errs = append(errs, fmt.Errorf("host %s %s: %w", h.Addr, h.ID, err))
			continue
		}
		good = append(good, h)
	}
	return good, errors.Join(errs...)
}

// sameOffer reports whether sift makes the same of two hosts.
func sameOffer(a, b registry.Host) bool {
	return a.Served == b.Served && a.Health == b.Health && sameHost(served{Host: a}, served{Host: b})
}

// sameHosts reports whether two lists make the same assignment.
func sameHosts(a, b []registry.Host) bool {
	return slices.EqualFunc(a, b, func(a, b registry.Host) bool { return sameHost(served{Host: a}, served{Host: b}) })
}

func sameHost(a, b served) bool {
	return a.Addr == b.Addr && a.ID == b.ID && a.Weight == b.Weight && a.Locality == b.Locality &&
		a.Canary == b.Canary && a.leaving == b.leaving && maps.Equal(a.Tags, b.Tags)
}

// loadAssignment builds the assignment of a service: a pure function, and
// deterministic as long as hosts is sorted, which registry.Service.Served is.
func loadAssignment(name string, hosts []served) *endpointv3.ClusterLoadAssignment {
	byLocality := make(map[fleet.Locality][]served)
	for _, h := range hosts {
		byLocality[h.Locality] = append(byLocality[h.Locality], h)
	}
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, l := range slices.SortedFunc(maps.Keys(byLocality), fleet.Locality.Compare) {
		cla.Endpoints = append(cla.Endpoints, localityEndpoints(l, byLocality[l]))
	}
	return cla
}

// localityEndpoints weighs the locality by the sum of its endpoints: Envoy's
// locality-weighted load balancing and gRPC's own xDS client send nothing to a
// locality without a weight; everybody else ignores it.
func localityEndpoints(l fleet.Locality, hosts []served) *endpointv3.LocalityLbEndpoints {
	group := &endpointv3.LocalityLbEndpoints{LbEndpoints: make([]*endpointv3.LbEndpoint, 0, len(hosts))}
	if l != (fleet.Locality{}) {
		group.Locality = &corev3.Locality{Region: l.Region, Zone: l.Zone}
	}
	var sum uint32
	for _, h := range hosts {
		sum += h.Weight
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(h))
	}
	group.LoadBalancingWeight = wrapperspb.UInt32(sum)
	return group
}

func lbEndpoint(h served) *endpointv3.LbEndpoint {
	health := corev3.HealthStatus_HEALTHY
	if h.leaving {
		health = corev3.HealthStatus_UNHEALTHY
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       h.Addr.Addr().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(h.Addr.Port())},
			}}},
		}},
		HealthStatus:        health,
		Metadata:            metadata(h),
		LoadBalancingWeight: wrapperspb.UInt32(h.Weight),
	}
}

func metadata(h served) *corev3.Metadata {
	lb := map[string]*structpb.Value{"canary": structpb.NewBoolValue(h.Canary)}
	for k, v := range h.Tags {
		lb[k] = structpb.NewStringValue(v)
	}
	filters := map[string]*structpb.Struct{metadataLB: {Fields: lb}}
	if h.ID != "" {
		filters[metadataRollcall] = &structpb.Struct{Fields: map[string]*structpb.Value{"id": structpb.NewStringValue(h.ID)}}
	}
	return &corev3.Metadata{FilterMetadata: filters}
}
