package decide

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// crowd is a pool of many, and probes that found all of them good.
type crowd struct {
	members  []*fleet.Member
	evidence map[probe.Key]probe.Evidence
}

func newCrowd(n int) *crowd {
	c := &crowd{evidence: make(map[probe.Key]probe.Evidence)}
	for i := range n {
		m := fleet.Member{ID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), Role: fleet.RoleUpstream, Liveness: fleet.Alive, Service: "myservice",
			Gossip:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 7946),
			Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80), Weight: 1, Health: fleet.Healthy},
			Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath}}
		c.members = append(c.members, new(m))
		c.evidence[probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}] = probe.Evidence{Verdict: probe.Good, Tried: true, Verified: true}
	}
	fleet.SortMembers(c.members)
	return c
}

func (c *crowd) Members() []*fleet.Member               { return c.members }
func (c *crowd) Evidence() map[probe.Key]probe.Evidence { return c.evidence }
func (*crowd) Revision() uint64                         { return 1 }
func (*crowd) Changed() <-chan struct{}                 { return nil }
func (*crowd) Urgent() <-chan struct{}                  { return nil }
func (*crowd) Joined() <-chan struct{}                  { return nil }
func (*crowd) Watch([]probe.Target)                     {}
func (*crowd) Woke() time.Time                          { return time.Time{} }

// BenchmarkOneOfManyChanges is what the loop does after one of 10,000 members
// announced another weight, up to what streams encode.
func BenchmarkOneOfManyChanges(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	store, err := override.NewStore(db, override.Options{})
	if err != nil {
		b.Fatal(err)
	}
	const members = 10_000
	before := heap()
	c := newCrowd(members)
	quiet := slog.New(slog.DiscardHandler)
	admission, err := admit.NewAdmission(admit.AdmissionOptions{Options: admit.Options{MaxEndpoints: members, Local: true}, Ask: func(context.Context, *fleet.Member) bool { return true }, Known: c.members, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	l := New(Options{Pool: c, Prober: c, Overrides: store, Behind: func() bool { return false }, Admission: admission, Logger: quiet,
		Publish: []func(*registry.Snapshot){xds.New(xds.Options{Logger: quiet}).Update}})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		c.members = slices.Clone(c.members)
		n := i * 7919 % len(c.members)
		c.members[n] = new(*c.members[n])
		c.members[n].Endpoint.Weight++
		b.StartTimer()
		l.decide()
	}
	b.ReportMetric(float64(heap()-before)/members, "B/member")
	runtime.KeepAlive(l)
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
