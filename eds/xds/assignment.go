package xds

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/eds/registry"
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
	parts    []*part  // of each
	gone     []departure
	resource *discoveryv3.Resource
	json     func() ([]byte, error) // without an "@type"; made when first asked for
}

// empty is the assignment of a service that nobody serves. Envoy takes a missing
// resource for "no news", so nobody is said with an assignment of no endpoints.
func empty(name string) *assignment {
	a, err := encode(name, nil, nil)
	if err != nil { // the name is not UTF-8, which only the path of a v1 request lets in
		return &assignment{name: name, resource: &discoveryv3.Resource{Resource: &anypb.Any{TypeUrl: typeV3}}, json: func() ([]byte, error) { return nil, err }}
	}
	return a
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
// host that was left out and why. Those that are as they were before, when they
// were good, are not looked at twice.
func sift(s registry.Service, before []*registry.Host) ([]*registry.Host, error) {
	good := make([]*registry.Host, 0, len(s.Hosts))
	var errs []error
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if !h.Served || len(good) > 0 && good[len(good)-1].Addr == h.Addr { // the first has the address
			continue
		}
		for len(before) > 0 && before[0].Addr.Compare(h.Addr) < 0 {
			before = before[1:]
		}
		if len(before) == 0 || !sameHost(served{Host: before[0]}, served{Host: h}) {
			if err := h.Check(); err != nil {
				errs = append(errs, fmt.Errorf("host %s %s: %w", h.Addr, h.ID, err))
				continue
			}
		}
		good = append(good, h)
	}
	return good, errors.Join(errs...)
}

// offersSame reports whether a service offers the hosts that it did before.
func offersSame(s registry.Service, before []*registry.Host) bool {
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if !h.Served || i > 0 && s.Hosts[i-1].Served && s.Hosts[i-1].Addr == h.Addr {
			continue
		}
		if len(before) == 0 || !sameHost(served{Host: before[0]}, served{Host: h}) {
			return false
		}
		before = before[1:]
	}
	return len(before) == 0
}

// sameHosts reports whether two lists make the same assignment.
func sameHosts(a, b []*registry.Host) bool {
	return slices.EqualFunc(a, b, func(a, b *registry.Host) bool { return sameHost(served{Host: a}, served{Host: b}) })
}

func sameHost(a, b served) bool {
	return a.Addr == b.Addr && a.ID == b.ID && a.Weight == b.Weight && a.leaving == b.leaving &&
		a.Canary == b.Canary && a.Locality == b.Locality && maps.Equal(a.Tags, b.Tags)
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
