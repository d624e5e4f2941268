package xds

import (
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// What is kept of a request besides its names, in bytes: versions and nonces that are
// longer are none of this server's, and compare as such.
const (
	maxTypeURL = 256
	maxVersion = 256
	maxNonce   = 64
)

// The numbers of the fields that are read here.
const (
	fieldNodeID    protowire.Number = 1 // of Node
	fieldNode      protowire.Number = 2 // of DiscoveryRequest
	fieldDeltaNode protowire.Number = 1 // of DeltaDiscoveryRequest
)

// requestReader returns what reads a request into v, nil where v is none. It reports
// false where the standard decoder is to be asked.
//
// Of a node only the id is read. Envoy's lists each of its 500 extensions: 150 KB in
// memory for each stream, which go-control-plane would keep for as long as it lasts.
func requestReader(v any) func([]byte) bool {
	switch req := v.(type) {
	case *discoveryv3.DiscoveryRequest:
		return func(b []byte) (ok bool) {
			req.Node, ok = readRequest(b, fieldNode, req)
			trim(req)
			return ok
		}
	case *discoveryv3.DeltaDiscoveryRequest:
		return func(b []byte) (ok bool) {
			req.Node, ok = readRequest(b, fieldDeltaNode, req)
			trimDelta(req)
			return ok
		}
	default:
		return nil
	}
}

// trim cuts what a client may make as long as it likes, and go-control-plane keeps until
// its next request: this is the one list of what is kept.
func trim(r *discoveryv3.DiscoveryRequest) {
	r.VersionInfo, r.ResponseNonce, r.TypeUrl = clip(r.VersionInfo, maxVersion), clip(r.ResponseNonce, maxNonce), clip(r.TypeUrl, maxTypeURL+1)
	r.ErrorDetail, r.ResourceLocators = trimDetail(r.ErrorDetail), nil
	r.ProtoReflect().SetUnknown(nil)
}

// trimDelta does so for delta.
func trimDelta(r *discoveryv3.DeltaDiscoveryRequest) {
	r.ResponseNonce, r.TypeUrl = clip(r.ResponseNonce, maxNonce), clip(r.TypeUrl, maxTypeURL+1)
	for name, version := range r.InitialResourceVersions {
		r.InitialResourceVersions[name] = clip(version, maxVersion)
	}
	r.ErrorDetail, r.ResourceLocatorsSubscribe, r.ResourceLocatorsUnsubscribe = trimDetail(r.ErrorDetail), nil, nil
	r.ProtoReflect().SetUnknown(nil)
}

func trimDetail(d *status.Status) *status.Status {
	if d == nil {
		return nil
	}
	return &status.Status{Code: d.Code, Message: clip(d.Message, maxDetail)}
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

// readRequest reads b into m but for the node, the field of that number, which it
// returns. What lies between nodes is merged, as protobuf merges what is concatenated.
func readRequest(b []byte, node protowire.Number, m proto.Message) (n *corev3.Node, ok bool) {
	proto.Reset(m)
	merge := proto.UnmarshalOptions{Merge: true}
	rest := 0 // of b, what was not read yet begins there
	for at := 0; at < len(b); {
		num, typ, size := protowire.ConsumeField(b[at:])
		if size < 0 {
			return nil, false
		}
		if num == node && typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b[at:])
			content, _ := protowire.ConsumeBytes(b[at+tag:])
			id, ok := nodeID(content)
			if !ok || merge.Unmarshal(b[rest:at], m) != nil {
				return nil, false
			}
			n, rest = &corev3.Node{Id: clip(id, maxNameLen)}, at+size
		}
		at += size
	}
	return n, merge.Unmarshal(b[rest:], m) == nil
}

// nodeID reads the id of an encoded node.
func nodeID(b []byte) (id string, ok bool) {
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeField(b)
		if size < 0 {
			return "", false
		}
		if num == fieldNodeID && typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(b)
			content, _ := protowire.ConsumeBytes(b[tag:])
			id = string(content)
		}
		b = b[size:]
	}
	return id, utf8.ValidString(id)
}
