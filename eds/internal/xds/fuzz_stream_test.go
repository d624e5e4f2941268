package xds

import (
	"context"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// raw is a codec that sends the bytes that it is given.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(b mem.BufferSlice, v any) error { *v.(*[]byte) = b.Materialize(); return nil }
func (raw) Name() string                             { return "proto" }

// methods are the streams that are served.
var methods = []string{
	"/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
	"/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
}

// FuzzStream sends messages of any content on a stream of each kind: the stream
// ends, and others are served meanwhile.
func FuzzStream(f *testing.F) {
	node := &corev3.Node{Id: "envoy"}
	for i, m := range []proto.Message{
		&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeV3, ResourceNames: []string{"mine"}},
		&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeV3, ResourceNames: []string{"*", "", "mine"}, ResponseNonce: "1", VersionInfo: "x"},
		&discoveryv3.DiscoveryRequest{TypeUrl: typeV3, ResponseNonce: "1", ErrorDetail: &statuspb.Status{Message: "no"}},
		&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeV3, ResourceNamesSubscribe: []string{"mine"}},
		&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeV3, ResourceNamesSubscribe: []string{"mine", "*"}, ResourceNamesUnsubscribe: []string{"*"},
			InitialResourceVersions: map[string]string{"mine": "x"}, ResponseNonce: "1"},
		&discoveryv3.DiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		framed := append(binary.AppendUvarint(nil, uint64(len(b))), b...)
		f.Add(byte(i), append(framed, framed...))
	}
	s := start(f, Options{MaxNames: 50})
	s.Update(settled(service("mine", "10.0.0.1:80")))
	f.Fuzz(func(t *testing.T, method byte, sent []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
		st, err := s.conn.NewStream(ctx, desc, methods[int(method)%len(methods)], grpc.ForceCodecV2(raw{}))
		if err != nil {
			t.Fatal(err)
		}
		for len(sent) > 0 {
			n, k := binary.Uvarint(sent)
			if k <= 0 {
				break
			}
			message := sent[k:]
			message = message[:min(uint64(len(message)), n)]
			sent = sent[k+len(message):]
			if st.SendMsg(message) != nil {
				break // the server has ended it
			}
		}
		_ = st.CloseSend()
		for {
			var got []byte
			if st.RecvMsg(&got) != nil {
				break
			}
		}
		if ctx.Err() != nil {
			t.Fatal("the stream does not end")
		}
		w := httptest.NewRecorder()
		s.ServeRESTv3(w, httptest.NewRequest(http.MethodPost, "/v3/discovery:endpoints", strings.NewReader(`{"node":{"id":"honest"},"resource_names":["mine"]}`)))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("another client is answered %d %s", w.Code, w.Body)
		}
	})
}
