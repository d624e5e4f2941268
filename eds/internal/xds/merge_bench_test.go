package xds

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// fleetOf is a pool of n members of one service, as gossip lists it, all found good.
func fleetOf(n int) registry.Input {
	in := registry.Input{Now: time.Unix(1, 0), Settled: true, Evidence: make(map[probe.Key]probe.Evidence), EvidenceRevision: 1}
	for i := range n {
		m := fleet.Member{
			ID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), Role: fleet.RoleUpstream, Liveness: fleet.Alive, Service: "crowd",
			Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80), Weight: 1, Health: fleet.Healthy},
			Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
		}
		in.Members = append(in.Members, new(m))
		in.Evidence[probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}] = probe.Evidence{Verdict: probe.Good, Tried: true, Verified: true}
	}
	fleet.SortMembers(in.Members)
	return in
}

// mergeMost is how long that may take on a core that has nothing else to do.
const mergeMost = 2 * time.Millisecond

// BenchmarkMergeToBytes is what it takes from one of 10,000 members announcing
// another weight to the bytes that every Envoy of its service is sent: registry.Decide,
// Update, and the encoding.
func BenchmarkMergeToBytes(b *testing.B) {
	in := fleetOf(10_000)
	r, s := registry.New(registry.Options{}), New(Options{})
	change := func(i int) {
		in.Members = slices.Clone(in.Members)
		n := i * 7919 % len(in.Members)
		in.Members[n] = new(*in.Members[n])
		in.Members[n].Endpoint.Weight++
		in.Now = in.Now.Add(time.Millisecond)
	}
	pass := func() int {
		snap, _ := r.Decide(in)
		s.Update(snap)
		return len(s.services["crowd"].current.assignment.encoded().value)
	}
	pass()
	b.ReportAllocs()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		change(i)
		b.StartTimer()
		began := time.Now()
		if pass() == 0 {
			b.Fatal("nothing is encoded")
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	median, most := took[len(took)/2], took[len(took)*99/100]
	b.ReportMetric(float64(median.Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(most.Microseconds())/1000, "ms-p99")
	verdict := map[bool]string{true: "reached", false: "NOT REACHED"}
	b.Logf("median at most %s: %s, 99th percentile: %s", mergeMost, verdict[median <= mergeMost], verdict[most <= mergeMost])
}
