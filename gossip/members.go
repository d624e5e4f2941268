package gossip

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

const (
	keepGone = time.Hour     // how long a member that left or died is listed
	retryFor = 6 * time.Hour // how long a dead member's address is tried again
	maxGone  = 4096          // how many of both are kept; the oldest go first
)

// members is what memberlist's events add up to. The Notify methods run under
// memberlist's write lock: they copy, never wait for a reader, and never call
// back into memberlist.
type members struct {
	name   string // this process's
	log    *slog.Logger
	quiet  *throttle
	panics panics.Catcher // of what other members' metadata cause
	admission
	changed latest.Signal
	urgent  latest.Signal
	joined  chan struct{}
	lost    chan lostServer // bounded; never waited for

	mu        sync.Mutex
	byName    map[string]*record
	roster    roster
	unsettled time.Time          // when another member was first met, or one was last found dead
	gone      int                // how many records are not alive
	perAddr   map[netip.Addr]int // how many are, by where they gossip
	met       bool               // joined is closed
	closed    bool               // memberlist can still report after its shutdown
}

type record struct {
	*fleet.Member      // shared with readers, replaced and never written
	hidden        bool // gone for longer than keepGone

	// While Member is ahead of gossip, by a word that came directly: what gossip said
	// last, and when the first such word came.
	behind *fleet.Member
	heard  time.Time
}

// wordKeeps is how long a word that came directly stands without gossip saying as
// much, which takes less than a minute in a pool of 10,000 that churns. There is no signature of
// words: one that another member made up must not stay.
const wordKeeps = 2 * time.Minute

var (
	_ memberlist.EventDelegate    = (*members)(nil)
	_ memberlist.ConflictDelegate = (*members)(nil)
)

func newMembers(name string, log *slog.Logger, quiet *throttle, admission admission) *members {
	return &members{
		name: name, log: log, quiet: quiet, admission: admission, byName: make(map[string]*record), perAddr: make(map[netip.Addr]int),
		changed: latest.NewSignal(), urgent: latest.NewSignal(), joined: make(chan struct{}), lost: make(chan lostServer, hereLost),
	}
}

// NotifyJoin implements memberlist.EventDelegate.
func (ms *members) NotifyJoin(n *memberlist.Node) { ms.NotifyUpdate(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (ms *members) NotifyUpdate(n *memberlist.Node) {
	defer ms.panics.Catch(panics.Gossip, nil)
	ms.put(n.Name, ms.read(n))
}

// NotifyLeave implements memberlist.EventDelegate. It does not say whether the
// member left or crashed; its last word does.
func (ms *members) NotifyLeave(n *memberlist.Node) {
	defer ms.panics.Catch(panics.Gossip, nil)
	m := ms.read(n)
	m.Liveness = fleet.Dead
	ms.put(n.Name, m)
}

// NotifyConflict implements memberlist.ConflictDelegate: other claims the name of
// a member at another address and is ignored.
func (ms *members) NotifyConflict(existing, other *memberlist.Node) {
	msg := "another process claims a member's id and is ignored"
	if existing.Name == ms.name {
		msg = "another process claims this one's id and is ignored"
	}
	ms.counts.conflicts.Add(1)
	level := ms.quiet.level("conflict "+existing.Name, slog.LevelWarn)
	ms.log.Log(noContext, level, msg, "id", existing.Name, "gossip", address(existing), "claimed_from", address(other))
}

// put records m as the newest word on the member called name.
func (ms *members) put(name string, m fleet.Member) {
	if ms.record(name, m) {
		ms.log.Log(noContext, ms.quiet.level("quarantine "+name, slog.LevelWarn), "member is quarantined", "id", m.ID, "gossip", m.Gossip, "reason", m.Quarantine)
	}
}

// record reports whether m is newly quarantined.
func (ms *members) record(name string, m fleet.Member) bool {
	m.Since = time.Now()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.closed {
		return false
	}
	old := ms.byName[name]
	now := &record{}
	if old != nil && m.Quarantine == "" && m.Revision < old.Revision {
		now.behind, now.heard = new(m), old.heard
		if old.behind == nil || old.Liveness != fleet.Alive {
			now.heard = m.Since // gossip itself is behind: old news, or a replay
		}
		m = newer(*old.Member, m) // what it told us directly was ahead of gossip
	}
	if m.Liveness == fleet.Dead && m.Quarantine == "" && m.Endpoint.Health == fleet.Draining {
		m.Liveness = fleet.Left
	}
	if old != nil {
		ms.count(old.Member, -1)
		if old.Liveness == fleet.Alive && m.Liveness != fleet.Alive && old.Role == fleet.RoleEDS && name != ms.name {
			ms.lose(lostServer{m.ID, old.Gossip})
		}
		if old.Liveness == fleet.Alive && m.Liveness == fleet.Dead {
			ms.unsettled = m.Since
		}
	}
	now.Member = &m
	ms.count(now.Member, 1)
	ms.byName[name] = now
	ms.roster.note(name, m.ID)
	if ms.gone > maxGone {
		ms.dropOldest()
	}
	if name != ms.name && !ms.met {
		ms.met, ms.unsettled = true, m.Since
		close(ms.joined)
	}
	ms.changed.Set()
	return m.Quarantine != "" && (old == nil || old.Quarantine != m.Quarantine)
}

// count adds n to how many members there are like m. The caller holds mu.
func (ms *members) count(m *fleet.Member, n int) {
	if m.Liveness != fleet.Alive {
		ms.gone += n
		return
	}
	addr := fleet.Party(m.Gossip.Addr())
	if ms.perAddr[addr] += n; ms.perAddr[addr] == 0 {
		delete(ms.perAddr, addr)
	}
}

// newer is what the member said, with what gossip observed of it meanwhile.
func newer(said, observed fleet.Member) fleet.Member {
	said.Gossip, said.Liveness, said.Since, said.Quarantine = observed.Gossip, observed.Liveness, observed.Since, ""
	return said
}

// hear takes the word of a live member that came directly, ahead of gossip.
func (ms *members) hear(word fleet.Member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	old := ms.byName[word.ID.String()]
	if ms.closed || old == nil || old.Liveness != fleet.Alive || word.Revision <= old.Revision || word.Role != old.Role {
		return
	}
	word.Gossip, word.Liveness, word.Since = old.Gossip, fleet.Alive, time.Now()
	if old.behind == nil { // further words, which may be made up too, win it no time
		old.behind, old.heard = old.Member, word.Since
	}
	if old.Endpoint.Health == fleet.Healthy && word.Endpoint.Health != fleet.Healthy {
		ms.urgent.Set()
	}
	old.Member = &word
	ms.roster.note(word.ID.String(), word.ID)
	ms.changed.Set()
}

// dropOldest forgets the member that is gone for longest. The caller holds mu.
func (ms *members) dropOldest() {
	oldest := ""
	for name, r := range ms.byName {
		if r.Liveness != fleet.Alive && (oldest == "" || r.Since.Before(ms.byName[oldest].Since)) {
			oldest = name
		}
	}
	ms.roster.note(oldest, ms.byName[oldest].ID)
	delete(ms.byName, oldest)
	ms.gone--
}

// sweep hides and forgets members that are gone for long, and takes back words that
// gossip does not bear out.
func (ms *members) sweep(now time.Time) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for name, r := range ms.byName {
		if r.behind != nil && r.Liveness == fleet.Alive && now.Sub(r.heard) >= wordKeeps {
			said := *r.behind
			said.Since = now
			r.Member, r.behind = &said, nil
			ms.roster.note(name, r.ID)
			ms.changed.Set()
		}
		age := now.Sub(r.Since)
		if r.Liveness == fleet.Alive || age < keepGone {
			continue
		}
		if !r.hidden {
			r.hidden = true
			ms.roster.note(name, r.ID)
			ms.changed.Set()
		}
		if r.Liveness == fleet.Left || age >= retryFor {
			delete(ms.byName, name)
			ms.gone--
		}
	}
}

// list returns the members that are shown, by id. It is read-only.
func (ms *members) list() []*fleet.Member {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.roster.of(ms.byName)
}

func (ms *members) self() fleet.Member {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return *ms.byName[ms.name].Member
}

// others is how many members are alive beside this process.
func (ms *members) others() int {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	n := len(ms.byName) - ms.gone
	if ms.byName[ms.name].Liveness == fleet.Alive {
		n--
	}
	return n
}

// unsettledAt is when another member was first met, or a live one was last found dead.
func (ms *members) unsettledAt() time.Time {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.unsettled
}

// addresses returns where members gossip that are alive, this process among
// them, and where those gossiped that are dead and where no other member is now.
func (ms *members) addresses() (alive map[netip.AddrPort]bool, dead []netip.AddrPort) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	alive = make(map[netip.AddrPort]bool, len(ms.byName))
	for _, r := range ms.byName {
		if r.Liveness == fleet.Alive {
			alive[r.Gossip] = true
		}
	}
	for _, r := range ms.byName {
		if r.Liveness == fleet.Dead && r.Gossip.IsValid() && !alive[r.Gossip] {
			dead = append(dead, r.Gossip)
		}
	}
	return alive, dead
}

func (ms *members) close() {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.closed = true
}

// read copies a node, alive, into the fleet's terms. What it says of itself is
// believed only when all of it can be understood.
func (ms *members) read(n *memberlist.Node) fleet.Member {
	m, err := fleet.Decode(n.Meta)
	id, idErr := parseName(n.Name)
	if m.ID = id; err == nil {
		err = ms.vet(m)
	}
	if idErr != nil {
		err = idErr
	}
	if err != nil {
		m = fleet.Member{Version: m.Version, Quarantine: err.Error()}
	}
	m.ID, m.Gossip, m.Liveness = id, address(n), fleet.Alive
	return m
}

// parseName returns the id that is a node's name. Any other name gets an id made
// from it, so that the member can still be listed. Only the canonical form will
// do: two names must not be one member.
func parseName(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(name)
	if err != nil || id.String() != name {
		return uuid.NewSHA1(uuid.Nil, []byte(name)), fmt.Errorf("name %.100q is not a uuid", name)
	}
	return id, nil
}

func address(n *memberlist.Node) netip.AddrPort {
	return addrPort(n.Addr, n.Port)
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), port)
}
