package gossip

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/model"
)

// modelled is 10,100,300,1000 in `make bench-gossip`.
var (
	modelled = flag.String("modelled", "10,25", "sizes of the pools that the model is compared with")
	samples  = flag.Int("samples", 5, "of each kind of event, for the comparison with the model")
)

const (
	modelRuns = 101 // of the model, of which the median counts
	tick      = 10 * time.Millisecond
	slack     = 0.1 // s: a beat of gossip; EDS servers are told directly, which the model leaves out
)

// TestTheModelSaysWhatRealMembersDo allows for what the median of few samples
// strays by; what there is of error beside is printed.
func TestTheModelSaysWhatRealMembersDo(t *testing.T) {
	for text := range strings.SplitSeq(*modelled, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compare(newCrowd(t, n), n) })
		})
	}
}

func compare(c *crowd, n int) {
	t := c.w.t
	c.w.within(2*time.Minute, "all see each other", c.agree)
	time.Sleep(10*time.Second + time.Duration(n)*time.Second/5) // each join is said as often as it should be
	conf := LAN.Config()
	conf.Label = DefaultFleet
	o := model.Options{Config: conf, Members: n, Seed: 1}

	cost := model.CostOf(o, len(c.live[n/2].delegate.NodeMeta(0)))
	c.mark = c.now()
	start := c.mark
	every := time.Duration(cost.PushPullEvery * float64(time.Second))
	time.Sleep((30*time.Second + every - 1) / every * every) // as many push/pulls of each member
	now := c.now()
	c.say("at rest")
	seconds := now.at.Sub(start.at).Seconds() * float64(n)
	c.near("packets/s", float64(now.packets-start.packets)/seconds, cost.Packets, 0.15)
	c.near("bytes/s", float64(now.bytes-start.bytes)/seconds, cost.ProbeBytes+cost.PushPullBytes, 0.15)

	var change, join, crash []model.Times
	for range *samples {
		victim := c.live[n-1]
		rev, err := victim.Announce(announceAnew(victim.Self()))
		if err != nil {
			t.Fatal(err)
		}
		change = append(change, c.follow(victim.id, func(m fleet.Member) bool { return m.Revision >= rev }))
		c.live = c.live[:n-1]
		_ = victim.Close()
		crash = append(crash, c.follow(victim.id, func(m fleet.Member) bool { return m.Liveness == fleet.Dead }))
		c.join()
		join = append(join, c.follow(c.live[n-1].id, is(fleet.Alive)))
	}
	c.times("a change", change, model.Median(o, modelRuns, model.Change))
	c.times("a join", join, model.Median(o, modelRuns, model.Join))
	c.times("a crash", crash, model.Median(o, modelRuns, model.Crash))
}

func announceAnew(m fleet.Member) fleet.Member {
	m.Endpoint.Weight++
	return m
}

// follow waits until all know of a member what is wanted, and a while longer.
func (c *crowd) follow(id uuid.UUID, want func(fleet.Member) bool) model.Times {
	var times model.Times
	start, n := time.Now(), len(c.live)
	name := id.String()
	c.w.within(5*time.Minute, "all know", func() bool {
		for range 5 { // finer than within looks
			knows := 0
			for i, p := range c.live {
				if !p.knows(name, want) {
					continue
				}
				if knows++; i == 0 && times.Observer == 0 {
					times.Observer = time.Since(start)
				}
			}
			for percent, at := range map[int]*time.Duration{50: &times.Half, 99: &times.Most, 100: &times.All} {
				if *at == 0 && knows >= (n*percent+99)/100 {
					*at = time.Since(start)
				}
			}
			if knows == n {
				return true
			}
			time.Sleep(tick)
		}
		return false
	})
	time.Sleep(5*time.Second + time.Duration(c.rnd.Int64N(int64(time.Second)))) // the news ends, and beats shift
	return times
}

func (p *Pool) knows(name string, want func(fleet.Member) bool) bool {
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	r := p.members.byName[name]
	return r != nil && want(*r.Member)
}

func (c *crowd) times(what string, real []model.Times, modelled model.Times) {
	for _, f := range []struct {
		name string
		of   func(model.Times) time.Duration
	}{
		{"50 %", func(t model.Times) time.Duration { return t.Half }},
		{"99 %", func(t model.Times) time.Duration { return t.Most }},
		{"all", func(t model.Times) time.Duration { return t.All }},
	} {
		var took []float64
		for _, r := range real {
			took = append(took, f.of(r).Seconds())
		}
		slices.Sort(took)
		c.near(fmt.Sprintf("%s is known by %s, s", what, f.name), took[len(took)/2], f.of(modelled).Seconds(), 0.5)
	}
}

// near prints a figure beside the model's, and fails if they are further apart than
// the share of the larger one and the slack.
func (c *crowd) near(what string, real, modelled, share float64) {
	c.w.t.Logf("%4d members: %-28s real %8.2f  model %8.2f  %+3.0f %%", len(c.live), what, real, modelled, 100*(modelled/real-1))
	if d := modelled - real; max(d, -d) > share*max(real, modelled)+slack {
		c.w.t.Errorf("%s: %.2f, the model says %.2f", what, real, modelled)
	}
}
