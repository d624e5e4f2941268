package xds

import (
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	grpcencoding "google.golang.org/grpc/encoding"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestOneAddressMayHaveHalfOfTheStreams(t *testing.T) {
	cs := newClients(100, 0)
	open := func(address string, n int) (in []*client) {
		for range n {
			if c, ok := cs.open(TransportEDS, address, time.Now()); ok {
				in = append(in, c)
			}
		}
		return in
	}
	first := open("10.0.0.1:1", 100)
	if len(first) != 50 || len(open("10.0.0.2:1", 100)) != 50 {
		t.Fatalf("%d of the first address, %d in all", len(first), len(cs.streams))
	}
	for _, c := range first[:3] {
		cs.close(c, false, time.Now())
	}
	if n := len(open("10.0.0.1:2", 10)); n != 3 {
		t.Errorf("%d come back where three have gone", n)
	}
	if n := len(open("10.0.0.2:2", 10)); n != 0 {
		t.Errorf("%d more than half", n)
	}
}

func TestHealthStreamsAreBounded(t *testing.T) {
	s := start(t, Options{MaxStreams: 2 * maxOtherStreams})
	s.Update(settled())
	client, in := healthv1.NewHealthClient(s.conn), 0
	for range maxOtherStreams + 10 {
		stream, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{})
		must(t, err)
		switch _, err = stream.Recv(); status.Code(err) {
		case codes.OK:
			in++
		case codes.ResourceExhausted:
		default:
			t.Fatal(err)
		}
	}
	if in != maxOtherStreams {
		t.Errorf("%d are open, want %d", in, maxOtherStreams)
	}
	c := openADS(t, s.conn)
	c.send(&discoveryv3.DiscoveryRequest{TypeUrl: typeV3, ResourceNames: []string{"a"}})
	_, err := c.recv()
	must(t, err)
}

// What is compressed may be small on the way and large in memory. gRPC has no other
// decompressors than those that are linked in.
func TestNoDecompressorIsLinkedIn(t *testing.T) {
	for _, name := range []string{"gzip", "zstd", "snappy", "deflate"} {
		if grpcencoding.GetCompressor(name) != nil {
			t.Errorf("%s is", name)
		}
	}
}

func TestHeadersAndTypeURLsAreBounded(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled())
	long, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).StreamAggregatedResources(t.Context())
	must(t, err)
	must(t, long.Send(&discoveryv3.DiscoveryRequest{TypeUrl: strings.Repeat("x", maxTypeURL+1)}))
	if _, err := long.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "type URL") {
		t.Errorf("a long type URL: %v", err)
	}
	ctx := grpcmetadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("x", maxHeaders+1))
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).StreamAggregatedResources(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil {
		t.Error("a stream with large headers is answered")
	}
}

func TestNamesAreBoundedInBytes(t *testing.T) {
	s := start(t, Options{MaxNameBytes: 1000})
	s.Update(settled())
	sotw := openADS(t, s.conn)
	sotw.send(&discoveryv3.DiscoveryRequest{TypeUrl: typeV3, ResourceNames: []string{strings.Repeat("x", 600), strings.Repeat("y", 600)}})
	wantEnd(t, sotw, codes.InvalidArgument, "names of 1200 bytes")
	delta := openDeltaADS(t, s.conn)
	delta.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeV3, ResourceNamesSubscribe: []string{strings.Repeat("x", 600)}})
	_, err := delta.recv()
	must(t, err)
	delta.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeV3, ResourceNamesSubscribe: []string{strings.Repeat("y", 600)}})
	wantEnd(t, delta, codes.InvalidArgument, "names of 1200 bytes")
}
