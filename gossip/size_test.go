package gossip

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// size is 1,000 in `make bench-gossip`: that many real members take minutes, and
// several times as long under the race detector.
var size = flag.Int("members", 40, "members of the pool that churns")

const (
	observers  = 3                      // EDS servers, which are the seeds
	churnEvery = 100 * time.Millisecond // one member joins, leaves or is killed
	churnFor   = 10 * time.Second
	young      = 20 // the youngest members are not chosen: all others should know them first
)

func TestNoEventIsLostInAPoolThatChurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, *size)
		c.w.within(2*time.Minute, "all see each other", c.agree)
		c.say("joining")
		for range int(churnFor / churnEvery) {
			c.churn()
			time.Sleep(churnEvery)
		}
		c.say("churning")
		c.prompt()
		settled := c.w.within(3*time.Minute, "all see who is there", c.agree)
		c.say("settling")
		t.Logf("%d members: after the last event all agree within %s", *size, settled)
		c.check()
	})
}

// crowd is a pool of many, and what became of each member.
type crowd struct {
	w    *world
	rnd  *rand.Rand
	live []*Pool // the observers first
	fate map[uuid.UUID]fleet.Liveness
	left chan error
	ends int // members that are leaving
	mark mark

	heard []float64  // of each join while it churned: the share of members that knew after soon
	mu    sync.Mutex // guards heard
	wg    sync.WaitGroup
}

const soon = time.Second

// mark is what a crowd had used at a time.
type mark struct {
	at             time.Time // virtual
	packets, bytes int64
	cpu            time.Duration
}

func (c *crowd) now() mark {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail
	return mark{time.Now(), c.w.meter.packets.Load(), c.w.meter.bytes.Load(), time.Duration(r.Utime.Nano() + r.Stime.Nano())}
}

// say logs what a member used since the last time.
func (c *crowd) say(phase string) {
	now, old := c.now(), c.mark
	c.mark = now
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	n := len(c.live)
	seconds := now.at.Sub(old.at).Seconds() * float64(n)
	c.w.t.Logf("%d members, %s for %s: %.1f packets/s, %.0f bytes/s, %.2f ms CPU/s, %d KiB of memory each", n, phase, now.at.Sub(old.at),
		float64(now.packets-old.packets)/seconds, float64(now.bytes-old.bytes)/seconds,
		1e3*(now.cpu-old.cpu).Seconds()/seconds, mem.HeapInuse>>10/uint64(n))
}

func newCrowd(t *testing.T, n int) *crowd {
	c := &crowd{w: newWorld(t, 50), rnd: rand.New(rand.NewPCG(50, 50)), fate: make(map[uuid.UUID]fleet.Liveness), left: make(chan error, churnFor/churnEvery)}
	c.w.meter = new(traffic)
	c.mark = c.now()
	for range n {
		c.join()
		time.Sleep(rand.N(20 * time.Millisecond)) // else all timers beat as one
	}
	return c
}

func (c *crowd) join() {
	m := upstreamMember()
	if len(c.live) < observers {
		m = fleet.Member{ID: m.ID, Role: fleet.RoleEDS, Version: m.Version, Started: m.Started}
	}
	seeds := c.live[:min(observers, len(c.live))]
	p := c.w.open(Options{Member: m, Seeds: seedOf(seeds...)})
	c.live = append(c.live, p)
	c.fate[m.ID] = fleet.Alive
}

// churn has a member join, leave or crash, so that the pool stays as large as it is.
func (c *crowd) churn() {
	if len(c.live) < *size {
		c.join()
		c.listen(c.live[len(c.live)-1].id.String(), slices.Clone(c.live))
		return
	}
	i := observers + c.rnd.IntN(max(1, len(c.live)-observers-young))
	p := c.live[i]
	c.live = slices.Delete(c.live, i, i+1)
	if c.rnd.IntN(2) == 0 {
		c.fate[p.id] = fleet.Dead
		_ = p.Close()
		return
	}
	c.fate[p.id] = fleet.Left
	c.ends++
	go func() { c.left <- p.Leave(c.w.t.Context()) }()
}

// listen notes how many of those who were there know of a join soon.
func (c *crowd) listen(name string, there []*Pool) {
	c.wg.Go(func() {
		time.Sleep(soon)
		knows := 0
		for _, p := range there {
			if p.knows(name, is(fleet.Alive)) {
				knows++
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.heard = append(c.heard, float64(knows)/float64(len(there)))
	})
}

// prompt fails unless nearly all heard soon of nearly every join.
func (c *crowd) prompt() {
	c.wg.Wait()
	slices.Sort(c.heard)
	tenth, median := c.heard[len(c.heard)/10], c.heard[len(c.heard)/2]
	c.w.t.Logf("%d members: %.2f %% know of a join after %s, of the slowest tenth %.2f %%", len(c.live), 100*median, soon, 100*tenth)
	if median < 0.9 {
		c.w.t.Errorf("%.0f %% know of a join after %s", 100*median, soon)
	}
}

// agree reports whether every member sees exactly those alive that are.
func (c *crowd) agree() bool {
	return !slices.ContainsFunc(c.live, func(p *Pool) bool { return count(p, fleet.Alive) != len(c.live) || !c.knows(p) })
}

// knows reports whether p sees all alive that are.
func (c *crowd) knows(p *Pool) bool {
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	return !slices.ContainsFunc(c.live, func(o *Pool) bool {
		r := p.members.byName[o.id.String()]
		return r == nil || r.Liveness != fleet.Alive
	})
}

// check fails unless each observer has seen each member come, and how it went.
func (c *crowd) check() {
	unsure := 0
	for range c.ends {
		if err := <-c.left; err != nil {
			unsure++
		}
	}
	c.w.t.Logf("%d of %d that left could not say that all of their words had been sent: newer ones go first", unsure, c.ends)
	for i, p := range c.live[:observers] {
		for id, want := range c.fate {
			if m, ok := find(p, id); !ok || m.Liveness != want {
				c.w.t.Errorf("observer %d: a member that is %s is %q, seen at all: %t", i, want, m.Liveness, ok)
			}
		}
		if n := len(p.Members()); n != len(c.fate) {
			c.w.t.Errorf("observer %d lists %d members, there were %d", i, n, len(c.fate))
		}
	}
}
