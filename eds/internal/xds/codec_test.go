package xds

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// pushOf makes up a push of so many assignments.
func pushOf(seed uint64, assignments, hosts uint8) push {
	r := rand.New(rand.NewPCG(seed, 0))
	p := push{}
	for i := range assignments % 8 {
		var all []served
		for j := range hosts {
			h := host(fmt.Sprintf("10.0.%d.%d:%d", i, j, 1+r.IntN(65_535)))
			h.Weight = uint32(r.IntN(fleet.MaxWeight) + 1)
			h.Locality = fleet.Locality{Region: string([]byte("ab")[:r.IntN(3)]), Zone: string([]byte("z")[:r.IntN(2)])}
			if r.IntN(2) == 0 {
				h.Tags = map[string]string{"stage": "prod", fmt.Sprint(r.IntN(9)): fmt.Sprint(r.Uint64())}
			}
			all = append(all, served{Host: h, leaving: r.IntN(4) == 0})
		}
		p.assignments = append(p.assignments, newAssignment(fmt.Sprint("s", r.IntN(1<<20)), all, nil))
	}
	p.seal()
	return p
}

// sending is a stream that keeps what is sent.
type sending struct {
	grpc.ServerStream
	sent any
}

func (s *sending) SendMsg(m any) error { s.sent = m; return nil }
func (s *sending) Send(any) error      { return nil }

type sendingSotw struct{ *sending }

func (s sendingSotw) Send(*discoveryv3.DiscoveryResponse) error    { return nil }
func (s sendingSotw) Recv() (*discoveryv3.DiscoveryRequest, error) { return nil, nil }

type sendingDelta struct{ *sending }

func (s sendingDelta) Send(*discoveryv3.DeltaDiscoveryResponse) error    { return nil }
func (s sendingDelta) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) { return nil, nil }

// What goes out is, byte for byte, what gRPC's own codec makes of the messages
// with the resources in them.
func FuzzResponsesAreEncodedAsProtobufWould(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(0), "1")
	f.Add(uint64(2), uint8(1), uint8(0), "2")
	f.Add(uint64(3), uint8(1), uint8(200), "")
	f.Add(uint64(4), uint8(7), uint8(3), "18446744073709551615")
	c := newCodec(DefaultMaxNames)
	f.Fuzz(func(t *testing.T, seed uint64, assignments, hosts uint8, nonce string) {
		p := pushOf(seed, assignments, hosts)
		sotw := &discoveryv3.DiscoveryResponse{VersionInfo: p.version, TypeUrl: typeV3, Nonce: nonce}
		delta := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: p.version, TypeUrl: typeV3, Nonce: nonce}
		out := new(sending)
		must(t, sotwStream{sendingSotw{out}, &stream{pushing: p}}.Send(sotw))
		gotSotw := marshal(t, c, out.sent)
		must(t, deltaStream{sendingDelta{out}, &stream{pushing: p}}.Send(delta))
		gotDelta := marshal(t, c, out.sent)

		for _, a := range p.assignments {
			b, err := deterministic.Marshal(loadAssignment(a.name, a.hosts))
			must(t, err)
			res := &anypb.Any{TypeUrl: typeV3, Value: b}
			sotw.Resources = append(sotw.Resources, res)
			delta.Resources = append(delta.Resources, &discoveryv3.Resource{Name: a.name, Version: a.version(), Resource: res})
		}
		if _, err := proto.Marshal(sotw); err != nil { // a nonce that is not UTF-8: ours are numbers
			t.Skip(err)
		}
		if want := marshal(t, c, sotw); !bytes.Equal(gotSotw, want) {
			t.Errorf("state of the world: sent %x\nwant %x", gotSotw, want)
		}
		if want := marshal(t, c, delta); !bytes.Equal(gotDelta, want) {
			t.Errorf("delta: sent %x\nwant %x", gotDelta, want)
		}
	})
}

func marshal(t *testing.T, c codec, v any) []byte {
	t.Helper()
	b, err := c.Marshal(v)
	must(t, err)
	return b.Materialize()
}

func TestResponseCopiesNoAssignment(t *testing.T) {
	p := pushOf(1, 1, 200)
	e := p.assignments[0].encoded()
	f := frame(p.version, typeV3, "1", []mem.Buffer{e.sotw})
	if &f[1].ReadOnlyData()[0] != &e.sotw.ReadOnlyData()[0] {
		t.Error("the assignment was copied")
	}
	if allocs := testing.AllocsPerRun(100, func() { frame(p.version, typeV3, "1", []mem.Buffer{e.sotw}) }); allocs > 8 {
		t.Errorf("a response makes %.0f allocations", allocs)
	}
}
