package xds

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	grpcencoding "google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// The numbers of the fields that are sent of a response, the same in a
// DiscoveryResponse and a DeltaDiscoveryResponse.
const (
	fieldResponseVersion protowire.Number = 1
	fieldResources       protowire.Number = 2
	fieldTypeURL         protowire.Number = 4
	fieldNonce           protowire.Number = 5
)

// framed is a response that is encoded already. Its buffers reference the bytes
// that the assignments share, so that a response costs a stream a few words for
// each resource, for as long as it waits to be sent.
type framed mem.BufferSlice

// frame encodes a response with these resources.
func frame(version, typeURL, nonce string, resources []mem.Buffer) framed {
	head := appendString(nil, fieldResponseVersion, version)
	tail := appendString(appendString(nil, fieldTypeURL, typeURL), fieldNonce, nonce)
	out := make(framed, 0, len(resources)+2)
	out = append(out, mem.SliceBuffer(head))
	out = append(out, resources...)
	return append(out, mem.SliceBuffer(tail))
}

// codec is gRPC's own, except for framed responses and for requests: see requestReader.
type codec struct {
	grpcencoding.CodecV2
	names    int // of a request
	requests mem.BufferPool
}

// newCodec reads requests with at most so many names, which are put together in buffers of
// its own: an Envoy's first one has 50 KB, for which gRPC's pool has nothing between 32 KB
// and 1 MB.
func newCodec(names int) codec {
	return codec{grpcencoding.GetCodecV2(proto.Name), names, mem.NewTieredBufferPool(4<<10, 64<<10, 128<<10, 256<<10, 512<<10, 1<<20)}
}

// Marshal returns the bytes of v, which is not to be written to meanwhile.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(framed); ok {
		return mem.BufferSlice(f), nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal reads data into v.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	read := requestReader(v, c.names)
	if read == nil {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(c.requests)
	defer b.Free()
	if err := read(b.ReadOnlyData()); err != nil {
		return fmt.Errorf("read a discovery request: %w", err)
	}
	return nil
}

// resources takes what was collected, in the form of one kind of response.
func (s *stream) resources(form func(*encoding) mem.Buffer) []mem.Buffer {
	resources := make([]mem.Buffer, len(s.pushing.assignments))
	for i, a := range s.pushing.assignments {
		resources[i] = form(a.encoded())
	}
	s.pushing = push{}
	return resources
}

// sotwStream sends the resources that its stream collected in place of those in
// go-control-plane's message, and takes the other fields from that.
type sotwStream struct {
	streamv3.Stream
	stream *stream
}

// Send sends a response.
func (s sotwStream) Send(resp *discoveryv3.DiscoveryResponse) error {
	resources := s.stream.resources(func(e *encoding) mem.Buffer { return e.sotw })
	return s.SendMsg(frame(resp.GetVersionInfo(), resp.GetTypeUrl(), resp.GetNonce(), resources))
}

// Recv receives a request, on a goroutine of go-control-plane's.
func (s sotwStream) Recv() (req *discoveryv3.DiscoveryRequest, err error) {
	defer s.stream.server.opts.Panics.Catch(panics.XDS, func(any) { err = errPanicked })
	req, err = s.Stream.Recv()
	s.stream.received(err)
	return req, err
}

// deltaStream is sotwStream for delta.
type deltaStream struct {
	streamv3.DeltaStream
	stream *stream
}

// Send sends a response.
func (s deltaStream) Send(resp *discoveryv3.DeltaDiscoveryResponse) error {
	resources := s.stream.resources(func(e *encoding) mem.Buffer { return e.delta })
	return s.SendMsg(frame(resp.GetSystemVersionInfo(), resp.GetTypeUrl(), resp.GetNonce(), resources))
}

// Recv receives a request.
func (s deltaStream) Recv() (req *discoveryv3.DeltaDiscoveryRequest, err error) {
	defer s.stream.server.opts.Panics.Catch(panics.XDS, func(any) { err = errPanicked })
	req, err = s.DeltaStream.Recv()
	s.stream.received(err)
	return req, err
}
