package probe

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// stage is a Prober in virtual time with the endpoints that it watches.
type stage struct {
	t       *testing.T
	net     network
	p       *Prober
	targets []Target
	pinged  int
	answer  time.Duration // an answer to a challenge takes
	others  bool          // there are others that reach the endpoints that are dark here
	stop    func()
}

const (
	portOf   = 8080
	gossipOf = 7946
)

func target(i int) Target {
	addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	return Target{
		Key:  Key{ID: "me", Addr: netip.AddrPortFrom(addr, portOf)},
		Kind: fleet.ProbeHTTP, Path: "/healthz", Gossip: netip.AddrPortFrom(addr, gossipOf),
	}
}

// newStage makes n endpoints that serve and gossip. None is watched yet. An interval
// of 0 is the default.
func newStage(t *testing.T, n int, interval time.Duration) *stage {
	s := &stage{t: t}
	s.p = New(Options{Interval: interval, Dial: s.net.dial, Stream: s.stream, Ping: s.ping, Challenge: s.challenge, Elsewhere: s.elsewhere})
	for i := range n {
		s.targets = append(s.targets, target(i))
		s.port(i).set(func(h *host) { h.refusing, h.id = false, "me" })
		s.gossip(i).set(func(h *host) { h.refusing = false })
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { s.p.Run(ctx) })
	s.stop = func() {
		cancel()
		wg.Wait()
		time.Sleep(time.Hour) // until no packet is on its way
		for addr, h := range s.net.hosts {
			if n := h.open(); n > 0 {
				t.Errorf("%d connections to %s were left open", n, addr)
			}
		}
	}
	return s
}

func (s *stage) port(i int) *host   { return s.net.host(s.targets[i].Addr.String()) }
func (s *stage) gossip(i int) *host { return s.net.host(target(i).Gossip.String()) }

// ping asks a gossip port that refuses, is dark or frozen in vain.
func (s *stage) ping(ctx context.Context, t Target) bool {
	s.net.mu.Lock()
	s.pinged++
	s.net.mu.Unlock()
	if h := s.net.host(t.Gossip.String()).get(); !h.refusing && !h.dark && !h.frozen {
		return true
	}
	select {
	case <-ctx.Done():
	case <-time.After(250 * time.Millisecond):
	}
	return false
}

// challenge reaches a process wherever its gossip port is not dark, whatever a firewall
// refuses.
func (s *stage) challenge(ctx context.Context, t Target) bool {
	s.net.mu.Lock()
	wait := s.answer
	s.net.mu.Unlock()
	if h := s.net.host(t.Gossip.String()).get(); h.refusing || h.walled || h.dark || h.frozen {
		wait = time.Hour
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(wait, 250*time.Millisecond)):
	}
	return wait <= 250*time.Millisecond
}

// elsewhere finds a process that runs, unless it is dark for others, too.
func (s *stage) elsewhere(ctx context.Context, t Target) bool {
	h := s.net.host(t.Gossip.String()).get()
	s.net.mu.Lock()
	others := s.others
	s.net.mu.Unlock()
	if others && !h.refusing && !h.frozen {
		return true
	}
	select {
	case <-ctx.Done():
	case <-time.After(400 * time.Millisecond):
	}
	return false
}

// watch watches the targets and lets the first probes have an outcome.
func (s *stage) watch(targets ...Target) {
	s.p.Watch(targets)
	synctest.Wait()
}

func (s *stage) evidence(i int) Evidence { return s.p.Evidence()[s.targets[i].Key] }

// pass lets virtual time pass.
func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) want(i int, want Verdict) {
	s.t.Helper()
	if got := s.evidence(i).Verdict; got != want {
		s.t.Errorf("host %d is %q, want %q", i, got, want)
	}
}

// do plays one word of a script on endpoint i. A word may have an argument: word/arg.
func (s *stage) do(i int, word string) {
	word, arg, _ := strings.Cut(word, "/")
	port, gossip := s.port(i), s.gossip(i)
	d, _ := time.ParseDuration(arg)
	n, _ := strconv.Atoi(arg)
	both := func(change func(*host)) { port.set(change); gossip.set(change) }
	switch word {
	case "die": // as by kill -9
		both(func(h *host) { h.refusing = true })
	case "start":
		both(func(h *host) { h.refusing = false })
	case "others":
		s.net.mu.Lock()
		s.others = arg == ""
		s.net.mu.Unlock()
	case "dropped": // over TCP, by a firewall
		both(func(h *host) { h.dropped = true })
	case "nosockets": // are left to knock at its gossip port
		gossip.set(func(h *host) { h.dialErr, h.dropped = syscall.EMFILE, false })
	case "sockets":
		gossip.set(func(h *host) { h.dialErr = nil })
	case "heal": // the firewall drops nothing any more
		both(func(h *host) { h.dropped = false })
	case "rejected": // by a firewall, over TCP
		both(func(h *host) { h.rejected = true })
	case "walled": // off by it, over UDP as well
		both(func(h *host) { h.rejected, h.walled = true, true })
	case "passed": // by it again
		both(func(h *host) { h.rejected = false })
	case "rejectgossip": // by a firewall, over TCP, and not the endpoint's own port
		gossip.set(func(h *host) { h.rejected = true })
	case "dropgossip":
		gossip.set(func(h *host) { h.dropped = true })
	case "allow":
		gossip.set(func(h *host) { h.rejected, h.dropped = false, false })
	case "secret": // the kernel of its machine does not say what is unreachable
		gossip.set(func(h *host) { h.secret = true })
	case "answer":
		s.net.mu.Lock()
		s.answer = d
		s.net.mu.Unlock()
	case "syn":
		port.set(func(h *host) { h.syn = func() time.Duration { return d } })
	case "quit":
		port.set(func(h *host) { h.refusing = true })
	case "accepts": // once more, after it died
		both(func(h *host) { h.accepts = n })
	case "freeze": // as by SIGSTOP
		both(func(h *host) { h.frozen = true })
	case "hang":
		port.set(func(h *host) { h.frozen = true })
	case "thaw":
		both(func(h *host) { h.frozen = false })
	case "dark": // its network is gone
		both(func(h *host) { h.dark = true })
	case "deaf": // its gossip's is
		gossip.set(func(h *host) { h.dark = true })
	case "light":
		both(func(h *host) { h.dark = false })
	case "status":
		port.set(func(h *host) { h.status = n })
	case "id":
		port.set(func(h *host) { h.id = arg })
	case "raw":
		port.set(func(h *host) { h.raw = unescape(arg) })
	case "greet":
		port.set(func(h *host) { h.greeting = arg })
	case "close":
		port.set(func(h *host) { h.close = true })
	case "hangup":
		port.set(func(h *host) { h.hangUp = true })
	case "idle":
		port.set(func(h *host) { h.idle = d })
	case "crossing":
		port.set(func(h *host) { h.crossing = d })
	case "slow":
		port.set(func(h *host) { h.slow = d })
	case "nofiles":
		port.set(func(h *host) { h.dialErr = syscall.EMFILE; h.hangUpAll() })
	case "check":
		s.p.Check(s.targets[i].Addr)
	case "leave": // its member's process dies
		gossip.set(func(h *host) { h.refusing = true })
	case "return":
		gossip.set(func(h *host) { h.refusing = false })
	case "halt": // its member's process is stopped
		gossip.set(func(h *host) { h.frozen = true })
	case "health": // that its member reports
		gossip.set(func(h *host) { h.status = n })
	case "noroute":
		port.set(func(h *host) { h.dialErr = syscall.EHOSTUNREACH; h.hangUpAll() })
	default:
		s.t.Fatalf("no word %q", word)
	}
}

func unescape(s string) string {
	return strings.NewReplacer("_", " ", `\r\n`, "\r\n").Replace(s)
}
