package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// The numbers of the repeated fields that are put together here
// (envoy/config/endpoint/v3/endpoint.proto, endpoint_components.proto).
const (
	fieldEndpoints   = 2 // ClusterLoadAssignment.endpoints
	fieldLbEndpoints = 2 // LocalityLbEndpoints.lb_endpoints
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// part is one endpoint, encoded once for as long as it stays as it is.
type part struct {
	bytes  []byte // of an LbEndpoint
	digest [16]byte
}

func newPart(h served) (*part, error) {
	b, err := deterministic.Marshal(lbEndpoint(h))
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Addr, err)
	}
	sum := sha256.Sum256(b)
	return &part{bytes: b, digest: [16]byte(sum[:])}, nil
}

// encode builds and encodes the assignment of a service. The hosts must have
// passed sift, be sorted by address, and are kept. What did not change since
// before is not encoded again; where nothing did, that is before itself.
func encode(name string, hosts []served, before *assignment) (*assignment, error) {
	parts, same, err := encodeParts(hosts, before)
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	if same {
		return before, nil
	}
	b, version, err := join(name, group(hosts, parts))
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	return &assignment{
		name: name, version: version, hosts: hosts, parts: parts,
		resource: &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typeV3, Value: b}},
		json:     sync.OnceValues(func() ([]byte, error) { return toJSON(b) }),
	}, nil
}

// encodeParts returns the part of each host, and whether they are those of before.
func encodeParts(hosts []served, before *assignment) (parts []*part, same bool, err error) {
	var old []served
	var oldParts []*part
	if before != nil {
		old, oldParts = before.hosts, before.parts
		same = len(hosts) == len(old)
	}
	parts = make([]*part, len(hosts))
	next := 0
	for i, h := range hosts {
		for next < len(old) && old[next].Addr.Compare(h.Addr) < 0 {
			next++
		}
		if next < len(old) && sameHost(old[next], h) {
			parts[i] = oldParts[next]
			continue
		}
		same = false
		if parts[i], err = newPart(h); err != nil {
			return nil, false, err
		}
	}
	return parts, same, nil
}

// locality is what an assignment has of one locality.
type locality struct {
	fleet.Locality
	weight uint32
	parts  []*part
	size   int // of the encoded parts
}

// group sorts parts into localities; within each they stay in order.
func group(hosts []served, parts []*part) []*locality {
	var groups []*locality
	found := make(map[fleet.Locality]*locality)
	var last *locality
	for i, h := range hosts {
		if last == nil || last.Locality != h.Locality {
			if last = found[h.Locality]; last == nil {
				last = &locality{Locality: h.Locality}
				if i == 0 { // most services have one locality
					last.parts = make([]*part, 0, len(hosts))
				}
				found[h.Locality] = last
				groups = append(groups, last)
			}
		}
		last.weight += h.Weight
		last.parts = append(last.parts, parts[i])
		last.size += protowire.SizeTag(fieldLbEndpoints) + protowire.SizeBytes(len(parts[i].bytes))
	}
	slices.SortFunc(groups, func(a, b *locality) int { return a.Locality.Compare(b.Locality) })
	return groups
}

// join writes the assignment as protobuf's deterministic encoding would, and names
// its content.
func join(name string, groups []*locality) ([]byte, string, error) {
	b, err := deterministic.Marshal(&endpointv3.ClusterLoadAssignment{ClusterName: name})
	if err != nil {
		return nil, "", err
	}
	sum := newDigest(b)
	for _, g := range groups {
		head, tail, err := g.frame()
		if err != nil {
			return nil, "", err
		}
		size := len(head) + g.size + len(tail)
		b = slices.Grow(b, protowire.SizeTag(fieldEndpoints)+protowire.SizeBytes(size))
		b = protowire.AppendTag(b, fieldEndpoints, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = append(b, head...)
		sum.add(head)
		sum.b = slices.Grow(sum.b, len(g.parts)*len(part{}.digest))
		for _, p := range g.parts {
			b = protowire.AppendTag(b, fieldLbEndpoints, protowire.BytesType)
			b = protowire.AppendBytes(b, p.bytes)
			sum.b = append(sum.b, p.digest[:]...)
		}
		b = append(b, tail...)
	}
	return b, sum.version(), nil
}

// frame encodes what stands before and after the endpoints of a locality. It is
// weighed by the sum of its endpoints: Envoy's locality-weighted load balancing
// and gRPC's own xDS client send nothing to a locality without a weight; everybody
// else ignores it.
func (l *locality) frame() (head, tail []byte, err error) {
	var before endpointv3.LocalityLbEndpoints
	if l.Locality != (fleet.Locality{}) {
		before.Locality = &corev3.Locality{Region: l.Region, Zone: l.Zone}
	}
	if head, err = deterministic.Marshal(&before); err != nil {
		return nil, nil, err
	}
	tail, err = deterministic.Marshal(&endpointv3.LocalityLbEndpoints{LoadBalancingWeight: wrapperspb.UInt32(l.weight)})
	return head, tail, err
}

// digest names content by the digests of its pieces, so that a change of one
// endpoint does not cost reading all of them.
type digest struct{ b []byte }

func newDigest(b []byte) *digest {
	d := &digest{}
	d.add(b)
	return d
}

func (d *digest) add(b []byte) {
	sum := sha256.Sum256(b)
	d.b = append(d.b, sum[:]...)
}

func (d *digest) version() string { return contentVersion(d.b) }

// contentVersion names content by 64 bits of its SHA-256.
func contentVersion(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
