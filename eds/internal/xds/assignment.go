package xds

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
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

// assignment is the content of one service, and never changes. It is encoded once, when a
// client first asks for it; one that was replaced before that is never encoded.
type assignment struct {
	name  string
	hosts []served // sorted by address

	once     sync.Once
	encoding *encoding // by once; empty with err
	err      error
	done     atomic.Bool                // encoded, without err
	before   atomic.Pointer[assignment] // an encoded one that shares endpoints with it; nil once done

	json func() ([]byte, error) // without an "@type"; made when first asked for
}

// newAssignment is the assignment of a service that follows before, which may be
// nil. The hosts must have passed sift and be sorted by address; the slice is kept.
func newAssignment(name string, hosts []served, before *assignment) *assignment {
	a := &assignment{name: name, hosts: hosts}
	if before != nil {
		older := before.before.Load()
		if before.done.Load() { // after the load: done is set before that is cleared
			older = before
		}
		a.before.Store(older)
	}
	a.json = sync.OnceValues(func() ([]byte, error) {
		if e := a.encoded(); a.err == nil {
			return toJSON(e.value)
		}
		return nil, a.err
	})
	return a
}

// encoded returns the bytes, and makes them at the first call. That may take a while: do
// not call it with a lock that the registry's goroutine waits for.
func (a *assignment) encoded() *encoding {
	a.once.Do(func() {
		e, err := encode(a.name, a.hosts, a.before.Load())
		if err != nil {
			a.encoding, a.err = &encoding{delta: mem.SliceBuffer(nil), sotw: mem.SliceBuffer(nil)}, err
			return
		}
		a.encoding = e
		a.done.Store(true)
		a.before.Store(nil)
	})
	return a.encoding
}

// version identifies the content.
func (a *assignment) version() string { return a.encoded().version }

// same reports whether a and b have the same content.
func (a *assignment) same(b *assignment) bool {
	return a == b || slices.EqualFunc(a.hosts, b.hosts, sameServed)
}

// empty is the assignment of a service without endpoints. Envoy takes a missing resource
// for "unchanged", so an assignment without endpoints must be sent.
func empty(name string) *assignment { return newAssignment(name, nil, nil) }

// toJSON turns an encoded assignment into compact JSON with the field names of
// the .proto files, which Envoys of all versions read.
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

// sift returns the hosts that Envoy accepts, since it rejects a whole assignment for one
// bad endpoint. The error names each endpoint that was left out, and why. Those that are
// unchanged since before, when they were good, are not checked again: reading 10,000 of
// them from memory is what takes long.
func sift(s registry.Service, before []*registry.Host) ([]*registry.Host, error) {
	good := make([]*registry.Host, 0, len(s.Hosts))
	var errs []error
	var last *registry.Host // the ones after it may have the same address
	for _, h := range s.Hosts {
		if len(before) > 0 && before[0] == h {
			good, before, last = append(good, h), before[1:], h
			continue
		}
		if !h.Served || last != nil && last.Addr == h.Addr {
			continue
		}
		last = h
		for len(before) > 0 && before[0].Addr.Compare(h.Addr) < 0 {
			before = before[1:]
		}
		same := len(before) > 0 && sameHost(before[0], h)
		if len(before) > 0 && before[0].Addr == h.Addr {
			before = before[1:]
		}
		if !same {
			if err := h.Check(); err != nil {
				errs = append(errs, fmt.Errorf("endpoint %s %s: %w", h.Addr, h.ID, err))
				continue
			}
		}
		good = append(good, h)
	}
	return good, errors.Join(errs...)
}

// offersSame reports whether the served hosts of a service are those before.
func offersSame(s registry.Service, before []*registry.Host) bool {
	for h := range s.EachServed() {
		if len(before) == 0 || !sameHost(before[0], h) {
			return false
		}
		before = before[1:]
	}
	return len(before) == 0
}

// sameHosts reports whether two lists give the same assignment.
func sameHosts(a, b []*registry.Host) bool { return slices.EqualFunc(a, b, sameHost) }

// staying returns hosts as those of an assignment, none of which is leaving.
func staying(hosts []*registry.Host) []served {
	out := make([]served, len(hosts))
	for i, h := range hosts {
		out[i] = served{Host: h}
	}
	return out
}

func sameServed(a, b served) bool { return a.leaving == b.leaving && sameHost(a.Host, b.Host) }

func sameHost(a, b *registry.Host) bool {
	return a == b || a.Addr == b.Addr && a.ID == b.ID && a.Weight == b.Weight &&
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
