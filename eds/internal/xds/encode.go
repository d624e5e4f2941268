package xds

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
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

// The numbers of the fields that are written here, from their .proto files.
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

// chunk is a few endpoints that follow each other, encoded once for as long as they
// stay as they are. Where one ends depends on the addresses alone, so that every EDS
// server has the same chunks, and a change affects only its own chunk.
type chunk struct {
	hosts  int
	pieces []piece // one of each locality
}

// piece is what a chunk has of one locality.
type piece struct {
	locality fleet.Locality
	weight   uint32
	bytes    []byte // the fields that carry the LbEndpoints
	digest   [16]byte
}

// chunkSize is how many endpoints a chunk has on average: encoding a chunk again
// costs some 5 µs for each endpoint, and copying one some 0.3 µs.
const chunkSize = 8

// begins reports whether a chunk begins with addr: one in chunkSize does, evenly also
// where addresses or ports follow each other (Fibonacci hashing).
func begins(addr netip.AddrPort) bool {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	ip := addr.Addr().As16()
	h := (binary.BigEndian.Uint64(ip[:8])*golden + binary.BigEndian.Uint64(ip[8:])) * golden
	return (h>>32+uint64(addr.Port()))*golden < math.MaxUint64/chunkSize
}

// newChunk encodes the first of hosts.
func newChunk(hosts []served) (*chunk, error) {
	c := &chunk{}
	for i, h := range hosts {
		if i > 0 && begins(h.Addr) {
			break
		}
		b, err := deterministic.Marshal(lbEndpoint(h))
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", h.Addr, err)
		}
		p := c.piece(h.Locality)
		p.weight += h.Weight
		p.bytes = append(appendHead(p.bytes, fieldLbEndpoints, len(b)), b...)
		c.hosts++
	}
	for i := range c.pieces {
		p := &c.pieces[i]
		sum := sha256.Sum256(p.bytes)
		p.bytes, p.digest = slices.Clone(p.bytes), [16]byte(sum[:]) // without what is spare
	}
	return c, nil
}

func (c *chunk) piece(l fleet.Locality) *piece {
	i := slices.IndexFunc(c.pieces, func(p piece) bool { return p.locality == l })
	if i < 0 {
		i, c.pieces = len(c.pieces), append(c.pieces, piece{locality: l})
	}
	return &c.pieces[i]
}

// still reports whether c, made of the first of old, is also the chunk that the first of
// hosts make.
func (c *chunk) still(old, hosts []served) bool {
	n := c.hosts
	return len(hosts) >= n && slices.EqualFunc(old[:n], hosts[:n], sameServed) && (len(hosts) == n || begins(hosts[n].Addr))
}

// encoding is the bytes of an assignment, shared by every stream and every poll.
type encoding struct {
	version string // derived from the content alone: equal on every EDS server with the same fleet
	value   []byte // the ClusterLoadAssignment
	chunks  []*chunk

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
	chunks, err := encodeChunks(hosts, before)
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	groups, err := group(chunks)
	if err != nil {
		return nil, fmt.Errorf("encode the assignment of %q: %w", name, err)
	}
	e := &encoding{version: makeVersion(countStaying(hosts), contentDigest(name, groups)), chunks: chunks}
	e.write(name, groups)
	return e, nil
}

// encodeChunks returns the chunks that hosts make.
func encodeChunks(hosts []served, before *assignment) (chunks []*chunk, err error) {
	var old []served
	var made []*chunk // of old
	if before != nil {
		old, made = before.hosts, before.encoding.chunks
	}
	chunks = make([]*chunk, 0, len(made)+1)
	for len(hosts) > 0 {
		for len(made) > 0 && old[0].Addr.Compare(hosts[0].Addr) < 0 {
			old, made = old[made[0].hosts:], made[1:]
		}
		var c *chunk
		if len(made) > 0 && made[0].still(old, hosts) {
			c = made[0]
		} else if c, err = newChunk(hosts); err != nil {
			return nil, err
		}
		chunks, hosts = append(chunks, c), hosts[c.hosts:]
	}
	return chunks, nil
}

// locality is what an assignment has of one locality.
type locality struct {
	fleet.Locality
	weight     uint32
	head, tail []byte // what stands before and after the endpoints
	pieces     []*piece
	size       int // of all of it
}

// group sorts what chunks have into localities; within each it stays in order.
func group(chunks []*chunk) ([]*locality, error) {
	var groups []*locality
	found := make(map[fleet.Locality]*locality)
	var l *locality
	for _, c := range chunks {
		for i := range c.pieces {
			p := &c.pieces[i]
			if l == nil || l.Locality != p.locality {
				if l = found[p.locality]; l == nil {
					l = &locality{Locality: p.locality}
					found[p.locality] = l
					groups = append(groups, l)
				}
			}
			l.weight += p.weight
			l.pieces = append(l.pieces, p)
			l.size += len(p.bytes)
		}
	}
	slices.SortFunc(groups, func(a, b *locality) int { return a.Locality.Compare(b.Locality) })
	for _, g := range groups {
		if err := g.frame(); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// write writes the assignment as protobuf's deterministic encoding would, inside the
// field that carries it, all in one buffer.
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
		for _, p := range g.pieces {
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
// and gRPC's own xDS client send nothing to a locality without a weight; other
// clients ignore it.
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

// contentDigest identifies content by the digests of its pieces, so that a change of one
// endpoint does not require reading all of them. Equal content has equal pieces.
func contentDigest(name string, groups []*locality) string {
	b := appendDigest(nil, appendString(nil, fieldClusterName, name))
	for _, g := range groups {
		b = appendDigest(b, g.head)
		for _, p := range g.pieces {
			b = append(b, p.digest[:]...)
		}
	}
	return digestOf(b)
}

// countStaying counts the endpoints that are not leaving.
func countStaying(hosts []served) (n int) {
	for _, h := range hosts {
		if !h.leaving {
			n++
		}
	}
	return n
}

func appendDigest(to, of []byte) []byte {
	sum := sha256.Sum256(of)
	return append(to, sum[:]...)
}

// digestOf identifies content by 64 bits of its SHA-256.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
