package probe

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// The cost of 10,000 endpoints may be this much at most.
const (
	costEndpoints = 10_000
	costMemory    = 200 // MB
	costCores     = 0.5
)

// BenchmarkCost probes 10,000 endpoints that other processes serve and measures
// its own process: memory, processor time, how even the probes are in time. It
// takes about 20 s and as many open files as there are endpoints.
func BenchmarkCost(b *testing.B) {
	const processes, settle, measured = 5, 5 * time.Second, 10 * time.Second
	var targets []Target
	for range processes {
		servers := start(b, "servers", strconv.Itoa(costEndpoints/processes))
		for range costEndpoints / processes {
			addr, err := netip.ParseAddrPort(servers.line(b))
			if err != nil {
				b.Fatal(err)
			}
			targets = append(targets, Target{Key: Key{ID: "me", Addr: addr}, Kind: fleet.ProbeHTTP, Path: "/healthz"})
		}
	}
	runtime.GC()
	before := resident(b)
	p := onRealSockets(b, false)
	var counts slots
	p.opts.Dial = counts.dial
	p.Watch(targets)
	began := time.Now()
	for unknown := costEndpoints; unknown > 0; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			b.Fatalf("%d endpoints without an answer after a minute", unknown)
		}
		unknown = costEndpoints - good(p)
	}
	b.Logf("all answered after %v", time.Since(began).Round(100*time.Millisecond))
	time.Sleep(settle)
	cpu, from := processorTime(b), time.Now()
	counts.reset()
	time.Sleep(measured)
	cores := float64(processorTime(b)-cpu) / float64(time.Since(from))
	memory := resident(b)
	least, most, all := counts.spread()
	if n := good(p); n != costEndpoints {
		b.Errorf("%d endpoints are good", n)
	}

	b.ReportMetric(0, "ns/op")
	b.ReportMetric(memory, "MB")
	b.ReportMetric(memory-before, "MB-grown")
	b.ReportMetric(measure("/memory/classes/heap/objects:bytes"), "MB-objects")
	b.ReportMetric(measure("/memory/classes/heap/stacks:bytes"), "MB-stacks")
	b.ReportMetric(cores, "cores")
	b.ReportMetric(all/measured.Seconds(), "probes/s")
	b.ReportMetric(least, "least/50ms")
	b.ReportMetric(most, "most/50ms")
	if memory > costMemory {
		b.Errorf("%.0f MB, at most %d are allowed", memory, costMemory)
	}
	if cores > costCores {
		b.Errorf("%.2f cores, at most %.2f are allowed", cores, costCores)
	}
}

// BenchmarkEvidence is what each change costs who asks for the evidence after it.
func BenchmarkEvidence(b *testing.B) {
	p := New(Options{})
	for i := range costEndpoints {
		p.evidence[target(i).Key] = Evidence{Verdict: Good}
	}
	b.ReportAllocs()
	for b.Loop() {
		p.report(target(0).Key, Evidence{Verdict: Good})
		p.Evidence()
	}
}

func good(p *Prober) int {
	n := 0
	for _, e := range p.Evidence() {
		if e.Verdict == Good {
			n++
		}
	}
	return n
}

// slots counts the requests in each 50 ms.
type slots struct {
	from atomic.Int64
	n    [1000]atomic.Int64
}

const slot = 50 * time.Millisecond

func (s *slots) reset() {
	for i := range s.n {
		s.n[i].Store(0)
	}
	s.from.Store(time.Now().UnixNano())
}

func (s *slots) spread() (least, most, all float64) {
	last := int((time.Now().UnixNano() - s.from.Load()) / int64(slot))
	var n []float64
	for i := range min(last, len(s.n)) {
		n = append(n, float64(s.n[i].Load()))
		all += n[i]
	}
	return slices.Min(n), slices.Max(n), all
}

func (s *slots) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, s}, nil
}

type countedConn struct {
	net.Conn
	slots *slots
}

func (c *countedConn) Write(b []byte) (int, error) {
	if i := (time.Now().UnixNano() - c.slots.from.Load()) / int64(slot); i < int64(len(c.slots.n)) {
		c.slots.n[i].Add(1)
	}
	return c.Conn.Write(b)
}

// resident is the memory that the kernel counts for this process, in MB.
func resident(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / 1e6
}

func measure(name string) float64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64()) / 1e6
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
