package eds

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	relaysMost  = 3                      // that are asked one question
	relaysOfEDS = 2                      // of these, at most: other EDS servers may have the same fault
	questions   = 256                    // under way, each of up to three small packets to each relay
	relaysFor   = 100 * time.Millisecond // a list of them is used: many questions come at once

	// questionWait bounds a question with its wait for a turn: the probes that time out need
	// the outcome before the next one does.
	questionWait = 400 * time.Millisecond
)

// relays knows which members can be asked whether another one lives: those at other
// addresses that are heard themselves.
type relays struct {
	self     netip.Addr
	members  func() []*fleet.Member
	evidence func() map[probe.Key]probe.Evidence
	asking   *semaphore.Weighted

	mu        sync.Mutex
	listed    time.Time
	servers   []*fleet.Member
	upstreams []*fleet.Member
}

func newRelays(self netip.Addr, members func() []*fleet.Member, evidence func() map[probe.Key]probe.Evidence) *relays {
	return &relays{self: self, members: members, evidence: evidence, asking: semaphore.NewWeighted(questions)}
}

// choose returns up to three relays, each at another address, in no order. They are for a
// question about a member that gossips at addr.
func (r *relays) choose(addr netip.Addr) []*fleet.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.listed) >= relaysFor {
		r.listed = now
		r.list()
	}
	taken := []netip.Addr{r.self, addr}
	chosen := pick(nil, r.servers, relaysOfEDS, &taken)
	return pick(chosen, r.upstreams, relaysMost, &taken)
}

// pick adds members at addresses that are not taken, until there are n.
func pick(chosen, from []*fleet.Member, n int, taken *[]netip.Addr) []*fleet.Member {
	const tries = 20 // of a large pool; a small one is looked through
	if len(from) == 0 {
		return chosen
	}
	start := rand.N(len(from))
	for i := range min(len(from), tries) {
		if m := from[(start+i)%len(from)]; len(chosen) < n && !slices.Contains(*taken, m.Gossip.Addr()) {
			chosen, *taken = append(chosen, m), append(*taken, m.Gossip.Addr())
		}
	}
	return chosen
}

// list finds the members that can be asked. What gossip says is enough for an EDS server,
// which nothing else receives.
func (r *relays) list() {
	r.servers, r.upstreams = nil, nil
	defer func() {
		rand.Shuffle(len(r.upstreams), func(i, j int) { r.upstreams[i], r.upstreams[j] = r.upstreams[j], r.upstreams[i] })
	}()
	evidence := r.evidence()
	for _, m := range r.members() {
		switch {
		case m.Liveness != fleet.Alive || m.Quarantine != "" || !m.Gossip.IsValid():
		case m.Role == fleet.RoleEDS:
			r.servers = append(r.servers, m)
		default:
			e := evidence[probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr}]
			if e.Verdict == probe.Good && !e.Late {
				r.upstreams = append(r.upstreams, m)
			}
		}
	}
}
