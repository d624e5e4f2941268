package xds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// The answers of a visitor to a push.
const (
	accepts = "accepts"
	rejects = "rejects"
	stalls  = "stalls" // never asks again
)

// habits are how a visitor behaves, in milliseconds of virtual time.
type habits struct {
	Comes, Reads, Replies, Leaves int
	Polls                         int // 0 for a stream
	Holds                         int // so long may a poll be held
	Answer                        string
	Delta                         bool
}

func drawHabits(answers ...string) *rapid.Generator[habits] {
	return rapid.Custom(func(t *rapid.T) habits {
		return habits{
			Comes:   rapid.IntRange(0, 500).Draw(t, "comes"),
			Reads:   rapid.IntRange(0, 40).Draw(t, "reads"),
			Replies: rapid.IntRange(0, 40).Draw(t, "replies"),
			Leaves:  rapid.IntRange(500, 5_000).Draw(t, "leaves"),
			Polls:   rapid.OneOf(rapid.Just(0), rapid.IntRange(100, 4_000)).Draw(t, "polls"),
			Holds:   rapid.SampledFrom([]int{0, 500, 5_000}).Draw(t, "holds"),
			Answer:  rapid.SampledFrom(answers).Draw(t, "answer"),
			Delta:   rapid.Bool().Draw(t, "delta"),
		}
	})
}

// visitor is a client in virtual time: a stream that uses the server as
// go-control-plane does, without a connection, or one that polls. It checks what it
// receives.
type visitor struct {
	habits
	server  *Server
	dropped map[string]time.Time // when a host was last taken from the wanted ones
	fail    func(format string, args ...any)

	mu      sync.Mutex // held by what a stream's goroutine would do
	stream  *stream
	nonce   int
	gone    bool
	version string          // a poller's
	healthy map[string]bool // by the last collected assignment: healthy or leaving
}

func (v *visitor) enter() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Polls > 0 {
		go v.poll()
		return
	}
	c, _ := v.server.clients.open(TransportEDS, "peer", time.Now())
	v.stream = v.server.newStream(c, typeV3)
	v.stream.subscribed.set([]string{"web"})
	v.ask(change{add: []string{"web"}, due: true})
	time.AfterFunc(ms(v.Leaves), v.leave)
}

func (v *visitor) ask(ch change) {
	_, err := v.stream.interest(ch, func() { time.AfterFunc(ms(v.Reads), v.read) })
	if err != nil {
		v.fail("%v", err)
	}
}

// learns takes what the visitor is sent. An endpoint that it had as healthy may be absent
// only if it was dropped at least that long ago.
func (v *visitor) learns(p push, after time.Duration) {
	now := make(map[string]bool)
	for _, h := range p.assignments[0].hosts {
		now[h.Addr.String()] = !h.leaving
	}
	for addr, healthy := range v.healthy {
		if _, there := now[addr]; healthy && !there && time.Since(v.dropped[addr]) < after {
			v.fail("%s is absent without a farewell, %s after it was dropped", addr, time.Since(v.dropped[addr]))
		}
	}
	v.healthy = now
}

// read collects and answers.
func (v *visitor) read() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return
	}
	v.learns(v.stream.collect(!v.Delta), farewellMost)
	v.nonce++
	v.stream.pushed(fmt.Sprint(v.nonce), !v.Delta)
	if v.Answer != stalls {
		time.AfterFunc(ms(v.Replies), v.reply)
	}
}

func (v *visitor) reply() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return
	}
	if v.Answer == accepts {
		sent, _ := v.stream.client.acks.ack(fmt.Sprint(v.nonce))
		v.stream.finish(sent)
	} else {
		v.stream.client.acks.reject(fmt.Sprint(v.nonce), "no", time.Now())
	}
	v.ask(change{fresh: !v.Delta, resend: v.stream.asked.finish})
	v.stream.asked = asked{}
}

// poll asks until it leaves. One that rejects keeps what it has.
func (v *visitor) poll() {
	for begin := time.Now(); time.Since(begin) < ms(v.Leaves); time.Sleep(ms(v.Polls)) {
		req := &discoveryv3.DiscoveryRequest{Node: node, ResourceNames: []string{"web"}, VersionInfo: v.version}
		c, _ := v.server.clients.poll(flavorV3.poller(req, fmt.Sprintf("%p", v)), "peer", time.Now())
		p, _ := v.server.polled(context.Background(), c, req, ms(v.Holds))
		if v.Answer == rejects && v.version != "" || p.version == v.version {
			continue
		}
		v.learns(p, goneFor)
		v.version = p.version
	}
}

func (v *visitor) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone = true
	v.stream.closed.Store(true)
	v.server.end(v.stream)
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// step is one snapshot and the time until the next.
type step struct {
	Hosts []string
	Pause int // ms
}

func drawSteps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		hosts := rapid.SliceOfDistinct(rapid.SampledFrom([]string{hostA, hostB, hostC}), rapid.ID).Draw(t, "hosts")
		slices.Sort(hosts)
		return step{hosts, rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(0, 1_500)).Draw(t, "pause")}
	}), 1, 12)
}

// play serves the steps to the visitors, and then waits for quiet.
func play(t *testing.T, fail func(string, ...any), steps []step, visitors []habits, quiet time.Duration) {
	synctest.Test(t, func(*testing.T) {
		s := New(Options{})
		s.Update(settled())
		dropped := make(map[string]time.Time)
		for _, h := range visitors {
			v := &visitor{habits: h, server: s, dropped: dropped, fail: fail}
			time.AfterFunc(ms(h.Comes), v.enter)
		}
		var wanted []string
		for _, step := range steps {
			synctest.Wait() // dropped is read by visitors
			for _, h := range wanted {
				if !slices.Contains(step.Hosts, h) {
					dropped[h] = time.Now()
				}
			}
			wanted = step.Hosts
			services := []registry.Service{service("web", wanted...)}
			if len(wanted) == 0 {
				services = nil
			}
			s.Update(settled(services...))
			time.Sleep(ms(step.Pause))
		}
		time.Sleep(quiet)
		synctest.Wait()
		if got, want := s.lines("web"), strings.Join(wanted, ", "); got != want {
			fail("after %s of quiet the assignment is %q, want %q", quiet, got, want)
		}
		time.Sleep(time.Minute)
	})
}

// Whatever endpoints and clients join and leave, no stream loses an endpoint within a
// second of its removal without having received it as unhealthy, and no poller within a
// minute; when all is quiet, the assignment is what is wanted.
func TestEveryDepartureIsSentAndEnds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps().Draw(rt, "steps")
		visitors := rapid.SliceOfN(drawHabits(accepts, rejects, stalls), 0, 4).Draw(rt, "visitors")
		play(t, rt.Errorf, steps, visitors, farewellMost)
	})
}

// Where every client acknowledges, no endpoint waits for a full second: only for the last
// push, and the one under way before it, to be read and acknowledged.
func TestDeparturesEndWithTheLastAcknowledgement(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps().Draw(rt, "steps")
		visitors := rapid.SliceOfN(drawHabits(accepts), 0, 4).Draw(rt, "visitors")
		slowest := 0
		for i := range visitors {
			visitors[i].Comes = 0
			slowest = max(slowest, visitors[i].Reads+visitors[i].Replies)
		}
		play(t, rt.Errorf, steps, visitors, 2*ms(slowest)+ackedTogether)
	})
}
