package xds

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// What is kept of a request besides its names, in bytes: longer versions and
// nonces are not from this server, and compare as such.
const (
	maxTypeURL = 256
	maxVersion = 256
	maxNonce   = 64
)

// The numbers of the fields of messages within a request that are read here.
const (
	fieldNodeID  protowire.Number = 1 // of Node
	fieldCode    protowire.Number = 1 // of Status
	fieldMessage protowire.Number = 2 // of Status
)

// fields are the fields of a request that are read. All others are skipped: a client may
// send them in any number, and an empty message takes 2 bytes on the wire and 100 in memory.
type fields struct {
	node, refusal protowire.Number
	texts         []protowire.Number
	lists         []protowire.Number // of names, or by name
}

var (
	sotwFields  = fields{node: 2, refusal: 6, texts: []protowire.Number{1, 4, 5}, lists: []protowire.Number{3}}
	deltaFields = fields{node: 1, refusal: 7, texts: []protowire.Number{2, 6}, lists: []protowire.Number{3, 4, 5}}
)

// requestReader returns a function that reads a request into v; nil if v is not a request.
// Of each list one more name than most is read: enough to be refused.
//
// Of a node only the id is read. Envoy's lists each of its 500 extensions: 150 KB in
// memory for each stream, which go-control-plane would keep for as long as it lasts.
func requestReader(v any, most int) func([]byte) error {
	switch req := v.(type) {
	case *discoveryv3.DiscoveryRequest:
		return func(b []byte) (err error) {
			req.Node, req.ErrorDetail, err = sotwFields.read(b, most, req)
			trim(req)
			return err
		}
	case *discoveryv3.DeltaDiscoveryRequest:
		return func(b []byte) (err error) {
			req.Node, req.ErrorDetail, err = deltaFields.read(b, most, req)
			trimDelta(req)
			return err
		}
	default:
		return nil
	}
}

// trim cuts the fields that a client may make of any length, and that go-control-plane
// keeps until the next request: this is the only list of what is kept.
func trim(r *discoveryv3.DiscoveryRequest) {
	r.VersionInfo, r.ResponseNonce, r.TypeUrl = clip(r.VersionInfo, maxVersion), clip(r.ResponseNonce, maxNonce), clip(r.TypeUrl, maxTypeURL+1)
	r.ProtoReflect().SetUnknown(nil)
}

// trimDelta is trim for delta.
func trimDelta(r *discoveryv3.DeltaDiscoveryRequest) {
	r.ResponseNonce, r.TypeUrl = clip(r.ResponseNonce, maxNonce), clip(r.TypeUrl, maxTypeURL+1)
	for name, version := range r.InitialResourceVersions {
		r.InitialResourceVersions[name] = clip(version, maxVersion)
	}
	r.ProtoReflect().SetUnknown(nil)
}

// clip cuts s to n bytes of valid UTF-8, without keeping the rest in memory.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(shorten(s, n))
}

// shorten cuts s to at most n bytes of valid UTF-8.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// read reads b into m but for the node and the refusal, which it returns. What lies
// between fields that are passed over is merged, as protobuf merges what is concatenated.
func (f fields) read(b []byte, most int, m proto.Message) (n *corev3.Node, refusal *status.Status, err error) {
	proto.Reset(m)
	merge := proto.UnmarshalOptions{Merge: true}
	listed := make(map[protowire.Number]int, len(f.lists))
	rest := 0 // of b, what was not read yet begins there
	for at := 0; at < len(b); {
		next, err := nextField(b[at:])
		if err != nil {
			return nil, nil, err
		}
		keep := false
		switch {
		case next.typ != protowire.BytesType:
		case next.num == f.node:
			n, err = readNode(next.bytes())
		case next.num == f.refusal:
			refusal, err = readRefusal(next.bytes(), refusal)
		case slices.Contains(f.lists, next.num):
			listed[next.num]++
			keep = listed[next.num] <= most+1
		default:
			keep = slices.Contains(f.texts, next.num)
		}
		if !keep && at > rest {
			err = errors.Join(err, merge.Unmarshal(b[rest:at], m))
		}
		if err != nil {
			return nil, nil, err
		}
		if at += next.size; !keep {
			rest = at
		}
	}
	return n, refusal, merge.Unmarshal(b[rest:], m)
}

// wireField is a field of an encoded message.
type wireField struct {
	num   protowire.Number
	typ   protowire.Type
	value []byte // what follows the tag
	size  int    // of the tag and the value, in bytes
}

// nextField returns the field at the beginning of b.
func nextField(b []byte) (f wireField, err error) {
	if f.num, f.typ, f.size = protowire.ConsumeField(b); f.size < 0 {
		return f, protowire.ParseError(f.size)
	}
	_, _, tag := protowire.ConsumeTag(b)
	f.value = b[tag:f.size]
	return f, nil
}

// bytes is the content of a field of type bytes.
func (f wireField) bytes() []byte {
	content, _ := protowire.ConsumeBytes(f.value)
	return content
}

var errNotUTF8 = errors.New("not valid UTF-8")

// readNode reads the id of an encoded node.
func readNode(b []byte) (*corev3.Node, error) {
	var id []byte
	for len(b) > 0 {
		f, err := nextField(b)
		if err != nil {
			return nil, err
		}
		if f.num == fieldNodeID && f.typ == protowire.BytesType {
			id = f.bytes()
		}
		b = b[f.size:]
	}
	if !utf8.Valid(id) {
		return nil, errNotUTF8
	}
	return &corev3.Node{Id: clip(string(id), maxNameLen)}, nil
}

// readRefusal reads an encoded error detail, but for its details, in addition to one that
// came before.
func readRefusal(b []byte, before *status.Status) (*status.Status, error) {
	s := before
	if s == nil {
		s = &status.Status{}
	}
	for len(b) > 0 {
		f, err := nextField(b)
		if err != nil {
			return nil, err
		}
		switch {
		case f.num == fieldCode && f.typ == protowire.VarintType:
			code, _ := protowire.ConsumeVarint(f.value)
			s.Code = int32(code)
		case f.num == fieldMessage && f.typ == protowire.BytesType:
			if !utf8.Valid(f.bytes()) {
				return nil, errNotUTF8
			}
			s.Message = clip(string(f.bytes()), maxDetail)
		}
		b = b[f.size:]
	}
	return s, nil
}
