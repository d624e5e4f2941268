package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// The numbers of the fields that are written here, by their .proto files.
const (
	fieldClusterName protowire.Number = 1 // of ClusterLoadAssignment
	fieldEndpoints   protowire.Number = 2
	fieldLbEndpoints protowire.Number = 2 // of LocalityLbEndpoints
	fieldAnyType     protowire.Number = 1 // of Any
	fieldAnyValue    protowire.Number = 2
	fieldVersion     protowire.Number = 1 // of Resource, as those that follow
	fieldResource    protowire.Number = 2
	fieldName        protowire.Number = 3
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

// encoding is the bytes of an assignment, shared by every stream and every poll.
type encoding struct {
	version string  // derived from the content alone: equal on every EDS server with the same fleet
	value   []byte  // the ClusterLoadAssignment
	parts   []*part // of each host

	// delta is a whole field "resources" of a DeltaDiscoveryResponse. A part of it,
	// sotw, is that of a DiscoveryResponse: the field "resource" of a Resource has the
	// same number.
	delta, sotw mem.Buffer
}

// encode builds and encodes the assignment of a service. The hosts must have
// passed sift and be sorted by address. What did not change since before, which may
// be nil and is encoded, is not encoded again.
func encode(name string, hosts []served, before *assignment) (*encoding, error) {
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("encode the assignment of %q: the name is not UTF-8", name)
	}
	parts, err := encodeParts(hosts, before)
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	groups, err := group(hosts, parts)
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	e := &encoding{version: contentDigest(name, groups), parts: parts}
	e.write(name, groups)
	return e, nil
}

// encodeParts returns the part of each host.
func encodeParts(hosts []served, before *assignment) (parts []*part, err error) {
	var old []served
	if before != nil {
		old = before.hosts
	}
	parts = make([]*part, len(hosts))
	next := 0
	for i, h := range hosts {
		for next < len(old) && old[next].Addr.Compare(h.Addr) < 0 {
			next++
		}
		if next < len(old) && sameServed(old[next], h) {
			parts[i] = before.encoding.parts[next]
			continue
		}
		if parts[i], err = newPart(h); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// locality is what an assignment has of one locality.
type locality struct {
	fleet.Locality
	weight     uint32
	head, tail []byte // what stands before and after the endpoints
	parts      []*part
	size       int // of all of it
}

// group sorts parts into localities; within each they stay in order.
func group(hosts []served, parts []*part) ([]*locality, error) {
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
	for _, g := range groups {
		if err := g.frame(); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// write writes the assignment as protobuf's deterministic encoding would, inside of
// the field that carries it, and all that in one piece.
func (e *encoding) write(name string, groups []*locality) {
	size := sizeOf(fieldClusterName, len(name))
	for _, g := range groups {
		size += sizeOf(fieldEndpoints, g.size)
	}
	anySize := sizeOf(fieldAnyType, len(typeV3)) + sizeOf(fieldAnyValue, size)
	resource := sizeOf(fieldVersion, len(e.version)) + sizeOf(fieldResource, anySize) + sizeOf(fieldName, len(name))
	b := make([]byte, 0, sizeOf(fieldResources, resource))

	b = appendHead(b, fieldResources, resource)
	b = appendString(b, fieldVersion, e.version)
	sotw := len(b)
	b = appendHead(b, fieldResource, anySize)
	b = appendString(b, fieldAnyType, typeV3)
	if size > 0 {
		b = appendHead(b, fieldAnyValue, size)
	}
	value := len(b)
	b = appendString(b, fieldClusterName, name)
	for _, g := range groups {
		b = appendHead(b, fieldEndpoints, g.size)
		b = append(b, g.head...)
		for _, p := range g.parts {
			b = appendHead(b, fieldLbEndpoints, len(p.bytes))
			b = append(b, p.bytes...)
		}
		b = append(b, g.tail...)
	}
	end := len(b)
	b = appendString(b, fieldName, name)
	e.value, e.delta, e.sotw = b[value:end:end], mem.SliceBuffer(b), mem.SliceBuffer(b[sotw:end])
}

// frame encodes what stands before and after the endpoints of a locality. It is
// weighed by the sum of its endpoints: Envoy's locality-weighted load balancing
// and gRPC's own xDS client send nothing to a locality without a weight; everybody
// else ignores it.
func (l *locality) frame() (err error) {
	var before endpointv3.LocalityLbEndpoints
	if l.Locality != (fleet.Locality{}) {
		before.Locality = &corev3.Locality{Region: l.Region, Zone: l.Zone}
	}
	if l.head, err = deterministic.Marshal(&before); err != nil {
		return err
	}
	l.tail, err = deterministic.Marshal(&endpointv3.LocalityLbEndpoints{LoadBalancingWeight: wrapperspb.UInt32(l.weight)})
	l.size += len(l.head) + len(l.tail)
	return err
}

// sizeOf is the size of a field of n bytes. An empty string is left out, as
// protobuf does.
func sizeOf(num protowire.Number, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(n)
}

func appendHead(b []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(n))
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendHead(b, num, len(s)), s...)
}

// contentDigest names content by the digests of its pieces, so that a change of one
// endpoint does not cost reading all of them.
func contentDigest(name string, groups []*locality) string {
	b := appendDigest(nil, appendString(nil, fieldClusterName, name))
	for _, g := range groups {
		b = appendDigest(b, g.head)
		b = slices.Grow(b, len(g.parts)*len(part{}.digest))
		for _, p := range g.parts {
			b = append(b, p.digest[:]...)
		}
	}
	return contentVersion(b)
}

func appendDigest(to, of []byte) []byte {
	sum := sha256.Sum256(of)
	return append(to, sum[:]...)
}

// contentVersion names content by 64 bits of its SHA-256.
func contentVersion(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
