package registry

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// manyMembers is a pool in the order in which gossip lists it, with good evidence.
func manyMembers(n int, service func(i int) string) Input {
	in := Input{Now: epoch, Settled: true, Evidence: make(map[probe.Key]probe.Evidence)}
	for i := range n {
		id := uuid.NewSHA1(uuid.Nil, []byte{byte(i >> 8), byte(i)})
		m := upstream(0, func(m *fleet.Member) {
			m.ID, m.Service = id, service(i)
			m.Endpoint.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 8080)
		})
		in.Members = append(in.Members, m)
		in.Evidence[keyOf(m)] = probe.Evidence{Verdict: probe.Good, Tried: true, Verified: true, Since: epoch}
	}
	fleet.SortMembers(in.Members)
	return in
}

// BenchmarkDecide tells what one change of the fleet costs.
func BenchmarkDecide(b *testing.B) {
	one := func(int) string { return "myservice" }
	thousand := func(i int) string { return fmt.Sprintf("service-%d", i%1000) }
	for name, tt := range map[string]struct {
		in     Input
		change func(*Input, int)
	}{
		"10000 members of one service":                       {manyMembers(10_000, one), func(*Input, int) {}},
		"10000 members of one service, one weight changes":   {manyMembers(10_000, one), oneWeight},
		"10000 members of 1000 services, one weight changes": {manyMembers(10_000, thousand), oneWeight},
		"10000 members of 1000 services":                     {manyMembers(10_000, thousand), func(*Input, int) {}},
		"10000 members, all silent": {manyMembers(10_000, one), func(in *Input, i int) {
			for k, e := range in.Evidence {
				if i == 1 {
					e.Verdict = probe.Silent
					in.Evidence[k] = e
				}
			}
		}},
	} {
		b.Run(name, func(b *testing.B) {
			r := New(defaults)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tt.in.Now = tt.in.Now.Add(time.Millisecond)
				b.StopTimer()
				tt.change(&tt.in, i)
				b.StartTimer()
				r.Decide(tt.in)
			}
		})
	}
}

// oneWeight is what gossip hands over after one member announced another weight.
func oneWeight(in *Input, i int) {
	in.Members, in.EvidenceRevision = slices.Clone(in.Members), 1
	n := i * 7919 % len(in.Members)
	in.Members[n] = new(*in.Members[n])
	in.Members[n].Endpoint.Weight++
}
