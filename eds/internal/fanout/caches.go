package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/eds/internal/pace"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const memberID = "00000000-0000-4000-8000-000000000001"

func name(service int) string { return fmt.Sprintf("s%d", service) }
func markOf(n int) string     { return fmt.Sprintf("%s%07d", markPrefix, n) }

// address is that of an endpoint; the first one sorts first.
func address(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i>>16), byte(i >> 8), byte(i)}), 8080)
}

// rollcall serves with this project's own cache.
type rollcall struct {
	*xds.Server
	snapshot *registry.Snapshot
	changes  uint64 // pushes so far; the server counts from 1, before the first one
}

func newRollcall() *rollcall { return &rollcall{Server: xds.New(xds.Options{})} }

func (r *rollcall) serve(ctx context.Context, lis net.Listener) error { return r.Serve(ctx, lis) }

// ServeHTTP answers polls.
func (r *rollcall) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.ServeRESTv3(w, req) }

func (r *rollcall) load(l load) error {
	snap := &registry.Snapshot{Settled: true}
	for i := range l.Services {
		s := registry.Service{Name: name(i)}
		for j := range l.Endpoints {
			s.Hosts = append(s.Hosts, &registry.Host{
				Endpoint: fleet.Endpoint{Addr: address(j), Weight: 1, Health: fleet.Healthy},
				ID:       memberID, Source: registry.Gossip, State: registry.StateHealthy, Served: true,
			})
		}
		s.Hosts[0].Tags = map[string]string{"mark": markOf(0)}
		snap.Services = append(snap.Services, s)
	}
	slices.SortFunc(snap.Services, func(a, b registry.Service) int { return strings.Compare(a.Name, b.Name) })
	r.snapshot = snap
	r.changes = 2
	r.Update(snap)
	return nil
}

// change makes a snapshot that shares what has not changed with the one before, and
// passes it to Update.
func (r *rollcall) change(service, mark int) (time.Time, error) {
	r.snapshot = r.marked(service, mark)
	r.changes++
	at := time.Now()
	r.Update(r.snapshot)
	return at, nil
}

func (r *rollcall) marked(service, mark int) *registry.Snapshot {
	snap := *r.snapshot
	snap.Services = slices.Clone(snap.Services)
	i := slices.IndexFunc(snap.Services, func(s registry.Service) bool { return s.Name == name(service) })
	hosts := slices.Clone(snap.Services[i].Hosts)
	hosts[0] = new(*hosts[0])
	hosts[0].Tags = map[string]string{"mark": markOf(mark)}
	snap.Services[i].Hosts = hosts
	return &snap
}

// burst makes a number of changes, 100 µs apart, and passes them on as the registry's
// goroutine does: the first one at once, those that follow it closely together.
func (r *rollcall) burst(service, mark, times int) time.Time {
	var changes pace.Pace
	var at time.Time
	start := time.Now()
	for i := range times {
		time.Sleep(time.Until(start.Add(time.Duration(i) * 100 * time.Microsecond)))
		at = time.Now()
		r.snapshot = r.marked(service, mark+i)
		wait := changes.Wait(time.Now(), false)
		if i == times-1 {
			time.Sleep(wait)
			wait = 0
		}
		if wait == 0 {
			r.changes++
			r.Update(r.snapshot)
			changes.Acted(time.Now())
		}
	}
	return at
}

// acked waits until this number of clients has acknowledged the latest change.
func (r *rollcall) acked(clients int) (time.Time, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Microsecond) {
		if at := time.Now(); r.upToDate(clients) {
			return at, nil
		}
	}
	return time.Time{}, errors.New("not every client has acknowledged")
}

func (r *rollcall) upToDate(clients int) bool {
	list := r.Clients()
	for _, c := range list {
		if len(c.Services) == 0 {
			return false
		}
		for _, s := range c.Services {
			if s.AckedSeq < r.changes {
				return false
			}
		}
	}
	return len(list) == clients
}

// assignment is what the other caches serve: the same fields as rollcall sends.
func assignment(service, endpoints, mark int) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{LoadBalancingWeight: wrapperspb.UInt32(uint32(endpoints))}
	for i := range endpoints {
		lb := map[string]*structpb.Value{"canary": structpb.NewBoolValue(false)}
		if i == 0 {
			lb["mark"] = structpb.NewStringValue(markOf(mark))
		}
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: address(i).Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(address(i).Port())},
				}}},
			}},
			HealthStatus: corev3.HealthStatus_HEALTHY, LoadBalancingWeight: wrapperspb.UInt32(1),
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				"envoy.lb": {Fields: lb},
				"rollcall": {Fields: map[string]*structpb.Value{"id": structpb.NewStringValue(memberID)}},
			}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name(service), Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

// library is go-control-plane's server with one of its own caches.
type library struct {
	cache     cachev3.Cache
	endpoints int
	set       func(changed map[string]types.Resource, mark int) error
}

func newLinear() *library {
	linear := cachev3.NewLinearCache(resource.EndpointType)
	return &library{cache: linear, set: func(changed map[string]types.Resource, _ int) error { return linear.UpdateResources(changed, nil) }}
}

// newSnapshot serves one snapshot to all clients.
func newSnapshot() *library {
	all := make(map[string]types.Resource)
	snapshots := cachev3.NewSnapshotCache(false, oneNode{}, nil)
	return &library{cache: snapshots, set: func(changed map[string]types.Resource, mark int) error {
		list := make([]types.Resource, 0, len(all))
		maps.Copy(all, changed)
		for _, r := range all {
			list = append(list, r)
		}
		snap, err := cachev3.NewSnapshot(fmt.Sprint(mark), map[resource.Type][]types.Resource{resource.EndpointType: list})
		if err != nil {
			return err
		}
		return snapshots.SetSnapshot(context.Background(), oneNode{}.ID(nil), snap)
	}}
}

// oneNode takes all clients for one node, so that they share a snapshot.
type oneNode struct{}

// ID implements cachev3.NodeHash.
func (oneNode) ID(*corev3.Node) string { return "all" }

func (l *library) serve(ctx context.Context, lis net.Listener) error {
	s := grpc.NewServer(grpc.MaxConcurrentStreams(10_000))
	endpointservicev3.RegisterEndpointDiscoveryServiceServer(s, endpointService{
		sotw: sotw.NewServer(ctx, l.cache, nil), delta: delta.NewServer(ctx, l.cache, nil),
	})
	context.AfterFunc(ctx, s.Stop)
	return s.Serve(lis)
}

type endpointService struct {
	endpointservicev3.UnimplementedEndpointDiscoveryServiceServer
	sotw  sotw.Server
	delta delta.Server
}

func (e endpointService) StreamEndpoints(stream endpointservicev3.EndpointDiscoveryService_StreamEndpointsServer) error {
	return e.sotw.StreamHandler(stream, resource.EndpointType)
}

func (e endpointService) DeltaEndpoints(stream endpointservicev3.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return e.delta.DeltaStreamHandler(stream, resource.EndpointType)
}

func (l *library) load(size load) error {
	l.endpoints = size.Endpoints
	all := make(map[string]types.Resource)
	for i := range size.Services {
		all[name(i)] = assignment(i, size.Endpoints, 0)
	}
	return l.set(all, 0)
}

func (l *library) change(service, mark int) (time.Time, error) {
	changed := map[string]types.Resource{name(service): assignment(service, l.endpoints, mark)}
	at := time.Now()
	return at, l.set(changed, mark)
}
