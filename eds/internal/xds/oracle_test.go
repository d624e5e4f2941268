package xds

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// loadAssignment is the message that encode must encode.
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
