package xds

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// longest are as many names as a stream may ask for, each as long as a service's may be.
func longest() (names []string, versions map[string]string) {
	versions = make(map[string]string, DefaultMaxNames)
	for i := range DefaultMaxNames {
		name := fmt.Sprintf("%0*d", fleet.MaxServiceName, i)
		names = append(names, name)
		versions[name] = strings.Repeat("f", versionRoom/2)
	}
	return names, versions
}

func TestClientMayReconnectWithTheMaximumOfNames(t *testing.T) {
	s := start(t, Options{MaxNameBytes: DefaultMaxNames * fleet.MaxServiceName})
	s.Update(settled())
	names, versions := longest()
	fat := &corev3.Node{Id: "envoy-1"}
	for i := range 500 { // as Envoy has
		fat.Extensions = append(fat.Extensions, &corev3.Extension{Name: fmt.Sprintf("envoy.filters.http.number_%d", i), Category: "envoy.filters.http"})
	}
	delta := openDeltaADS(t, s.conn)
	delta.send(&discoveryv3.DeltaDiscoveryRequest{Node: fat, ResourceNamesSubscribe: names, InitialResourceVersions: versions})
	r, err := delta.recv()
	must(t, err)
	if len(r.hosts) != len(names) {
		t.Errorf("delta: %d names are answered, want %d", len(r.hosts), len(names))
	}
	sotw := openADS(t, s.conn)
	sotw.send(&discoveryv3.DiscoveryRequest{Node: fat, ResourceNames: names})
	r, err = sotw.recv()
	must(t, err)
	if len(r.hosts) != len(names) {
		t.Errorf("state of the world: %d names are answered, want %d", len(r.hosts), len(names))
	}
}

func TestTooLargeRequestIsRefused(t *testing.T) {
	s := start(t, Options{MaxNames: 10})
	s.Update(settled())
	c := openADS(t, s.conn)
	c.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{strings.Repeat("x", requestSize(10, DefaultMaxNameBytes))}})
	wantEnd(t, c, codes.ResourceExhausted, "larger than max")
}

// What Envoy says about itself is 150 KB, of which its id is used.
func TestOnlyTheIDOfANodeIsKept(t *testing.T) {
	node := &corev3.Node{Id: "envoy-1", Cluster: "c", Extensions: []*corev3.Extension{{Name: "x"}}}
	sotw, delta := new(discoveryv3.DiscoveryRequest), new(discoveryv3.DeltaDiscoveryRequest)
	reread(t, &discoveryv3.DiscoveryRequest{Node: node, VersionInfo: "1", ResourceNames: []string{"a"}}, sotw)
	reread(t, &discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeV3}, delta)
	for _, got := range []*corev3.Node{sotw.GetNode(), delta.GetNode()} {
		if got.GetId() != "envoy-1" || got.GetCluster() != "" || len(got.GetExtensions()) > 0 {
			t.Errorf("kept %v", got)
		}
	}
	reread(t, &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: strings.Repeat("x", 1<<20)}}, sotw)
	if n := len(sotw.GetNode().GetId()); n > maxNameLen {
		t.Errorf("an id of %d bytes is kept", n)
	}
	reread(t, &discoveryv3.DiscoveryRequest{VersionInfo: "1"}, sotw)
	if sotw.GetNode() != nil {
		t.Error("no node became one: go-control-plane would forget the first one")
	}
}

// reread encodes a message and has the codec read it.
func reread(t *testing.T, in, out proto.Message) {
	t.Helper()
	b, err := proto.Marshal(in)
	must(t, err)
	must(t, newCodec(DefaultMaxNames).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, out))
}

// A request is read as protobuf reads it, except for its node and for what is cut: what
// protobuf refuses or accepts elsewhere stays so.
func FuzzRequestsAreReadAsProtobufWould(f *testing.F) {
	node := &corev3.Node{Id: "a", Cluster: "b", Extensions: []*corev3.Extension{{Name: "c"}}}
	for _, m := range []proto.Message{
		&discoveryv3.DiscoveryRequest{Node: node, VersionInfo: "1", ResourceNames: []string{"x", "y"}, TypeUrl: typeV3, ResponseNonce: "2"},
		&discoveryv3.DeltaDiscoveryRequest{Node: node, ResourceNamesSubscribe: []string{"x"}, InitialResourceVersions: map[string]string{"x": "1"}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(protowire.AppendBytes(protowire.AppendTag(b, 6, protowire.BytesType), []byte("\b\x03\x12\x01a\x1a\x00")))
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, make := range []func() proto.Message{
			func() proto.Message { return new(discoveryv3.DiscoveryRequest) }, func() proto.Message { return new(discoveryv3.DeltaDiscoveryRequest) },
		} {
			got, want := make(), make()
			if err := proto.Unmarshal(b, want); err != nil {
				continue // a node that is never read may be wrong
			}
			must(t, newCodec(DefaultMaxNames).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, got))
			switch want := want.(type) { // what is cut is cut here, too
			case *discoveryv3.DiscoveryRequest:
				trim(want)
				want.ErrorDetail, want.ResourceLocators = cut(want.GetErrorDetail()), nil
			case *discoveryv3.DeltaDiscoveryRequest:
				trimDelta(want)
				want.ErrorDetail, want.ResourceLocatorsSubscribe, want.ResourceLocatorsUnsubscribe = cut(want.GetErrorDetail()), nil, nil
			}
			if gotID, wantID := idOf(got), shorten(idOf(want), maxNameLen); gotID != wantID {
				t.Errorf("the id is %q, want %q", gotID, wantID)
			}
			if !proto.Equal(anonymous(got), anonymous(want)) {
				t.Errorf("read %v, want %v", got, want)
			}
		}
	})
}

// cut is the part of a refusal that is read.
func cut(d *rpcstatus.Status) *rpcstatus.Status {
	if d == nil {
		return nil
	}
	return &rpcstatus.Status{Code: d.Code, Message: clip(d.Message, maxDetail)}
}

// An empty message takes 2 bytes on the wire and 100 in memory.
func TestNoRequestTakesManyTimesItsBytes(t *testing.T) {
	const n = 500_000
	field := func(num protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
	}
	repeated := func(num protowire.Number) []byte { return bytes.Repeat(field(num, nil), n) }
	for name, tt := range map[string]struct {
		into    proto.Message
		request []byte
	}{
		"details":           {&discoveryv3.DiscoveryRequest{}, field(6, repeated(3))},
		"details in delta":  {&discoveryv3.DeltaDiscoveryRequest{}, field(7, repeated(3))},
		"locators":          {&discoveryv3.DiscoveryRequest{}, repeated(7)},
		"locators in delta": {&discoveryv3.DeltaDiscoveryRequest{}, repeated(9)},
		"names":             {&discoveryv3.DiscoveryRequest{}, repeated(3)},
		"names in delta":    {&discoveryv3.DeltaDiscoveryRequest{}, slices.Concat(repeated(3), repeated(4))},
		"broken at its end": {&discoveryv3.DiscoveryRequest{}, append(field(6, repeated(3)), 0xff)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := newCodec(10).Unmarshal(mem.BufferSlice{mem.SliceBuffer(tt.request)}, tt.into)
		runtime.ReadMemStats(&after)
		if broken := name == "broken at its end"; broken != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 2*uint64(len(tt.request)) {
			t.Errorf("%s: %d bytes are read for %d", name, got, len(tt.request))
		}
	}
}

// With the wildcard each name that is unsubscribed is answered.
func TestUnsubscribedNamesAreBounded(t *testing.T) {
	s := start(t, Options{MaxNames: 10, MaxNameBytes: 100})
	s.Update(settled())
	for what, names := range map[string][]string{"too many": make([]string, 11), "too long": {strings.Repeat("x", 101)}} {
		c := openDeltaADS(t, s.conn)
		c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"*"}})
		if _, err := c.recv(); err != nil {
			t.Fatal(err)
		}
		c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: names})
		if _, err := c.recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestKeptPartsOfARequestAreBounded(t *testing.T) {
	long := strings.Repeat("ü", 10_000)
	sotw, delta := new(discoveryv3.DiscoveryRequest), new(discoveryv3.DeltaDiscoveryRequest)
	detail := &rpcstatus.Status{Code: 3, Message: long, Details: []*anypb.Any{{TypeUrl: long}}}
	reread(t, &discoveryv3.DiscoveryRequest{VersionInfo: long, ResponseNonce: long, TypeUrl: long, ErrorDetail: detail}, sotw)
	reread(t, &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: long, TypeUrl: long, ErrorDetail: detail, InitialResourceVersions: map[string]string{"x": long}}, delta)
	for _, m := range []proto.Message{sotw, delta} {
		if n := proto.Size(m); n > 4000 {
			t.Errorf("%d bytes are kept", n)
		}
	}
	if sotw.GetErrorDetail() == nil || delta.GetErrorDetail() == nil || len(delta.GetInitialResourceVersions()) != 1 {
		t.Error("more is gone than was to be")
	}
	m := &discoveryv3.DiscoveryRequest{VersionInfo: "1"}
	m.ProtoReflect().SetUnknown(protowire.AppendTag(nil, 1000, protowire.BytesType))
	trim(m)
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Error("fields that are not known are kept")
	}
}

func idOf(m proto.Message) string { return m.(interface{ GetNode() *corev3.Node }).GetNode().GetId() }

// anonymous takes the node away.
func anonymous(m proto.Message) proto.Message {
	r := m.ProtoReflect()
	r.Clear(r.Descriptor().Fields().ByName("node"))
	return m
}

// An Envoy's first request is of a size for which gRPC's pool has only buffers of 1 MB, and
// Envoys come back all at once.
func TestRequestIsReadIntoABufferOfItsSize(t *testing.T) {
	for size := 8 << 10; size <= 1<<20; size += 4 << 10 {
		if got := cap(*newCodec(DefaultMaxNames).requests.Get(size)); got > 64<<10 && got >= 2*size {
			t.Fatalf("%d bytes are read into %d", size, got)
		}
	}
}
