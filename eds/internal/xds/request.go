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
		num, typ, size := protowire.ConsumeField(b[at:])
		if size < 0 {
			return nil, nil, protowire.ParseError(size)
		}
		keep := false
		if typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b[at:])
			content, _ := protowire.ConsumeBytes(b[at+tag:])
			switch {
			case num == f.node:
				n, err = readNode(content)
			case num == f.refusal:
				refusal, err = readRefusal(content, refusal)
			case slices.Contains(f.lists, num):
				listed[num]++
				keep = listed[num] <= most+1
			default:
				keep = slices.Contains(f.texts, num)
			}
		}
		if !keep && at > rest {
			err = errors.Join(err, merge.Unmarshal(b[rest:at], m))
		}
		if err != nil {
			return nil, nil, err
		}
		if at += size; !keep {
			rest = at
		}
	}
	return n, refusal, merge.Unmarshal(b[rest:], m)
}

var errNotUTF8 = errors.New("not valid UTF-8")

// readNode reads the id of an encoded node.
func readNode(b []byte) (*corev3.Node, error) {
	var id []byte
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeField(b)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if num == fieldNodeID && typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b)
			id, _ = protowire.ConsumeBytes(b[tag:])
		}
		b = b[size:]
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
	for rest := b; len(rest) > 0; {
		num, typ, size := protowire.ConsumeField(rest)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		_, _, tag := protowire.ConsumeTag(rest)
		switch {
		case num == fieldCode && typ == protowire.VarintType:
			code, _ := protowire.ConsumeVarint(rest[tag:])
			s.Code = int32(code)
		case num == fieldMessage && typ == protowire.BytesType:
			message, _ := protowire.ConsumeBytes(rest[tag:])
			if !utf8.Valid(message) {
				return nil, errNotUTF8
			}
			s.Message = clip(string(message), maxDetail)
		}
		rest = rest[size:]
	}
	return s, nil
}
