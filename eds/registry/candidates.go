package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// candidate is one host with what its own facts ask for.
type candidate struct {
	key      probe.Key
	of       *candidates
	shown    Host           // as far as it is known before anybody objects
	own      *ruling        // of operators about it; nil for none
	rules    *ruling        // the one that counts: a manual host has also that of the member at its address
	alive    bool           // gossip says so
	evidence probe.Evidence // that wish was made of
	wish     wish
	stale    bool // its facts have changed, another candidate takes its place

	// Of the service as a whole, by the last ranking.
	outranked  bool // it has no say: an operator keeps it out, or it is superseded
	forced     bool // an operator has it served whatever happens
	superseded bool // by another process at its address

	mute *mute // nil when it is not mute

	decided *Host   // by the last decision, shown as rules wants it; nil if that would be another one now
	outcome outcome // that made it
}

// outcome is what a decision comes to for one host.
type outcome struct {
	served, held bool
	since, until time.Time // of a host that is damped
}

// as is the host that comes of o: the one of the last decision, unless it is another
// one now.
func (c *candidate) as(o outcome) *Host {
	if c.decided != nil && c.outcome == o {
		return c.decided
	}
	h := c.rules.apply(c.shown)
	h.Served, h.Held = o.served, o.held
	if !o.until.IsZero() {
		h.State, h.Since, h.Until = StateDamped, o.since, o.until
	}
	c.decided, c.outcome = &h, o
	return c.decided
}

// candidates are all that could be served under one name. They stay from one
// decision to the next, so that a decision costs what changed.
type candidates struct {
	name   string
	mode   override.Mode
	manual []*candidate
	fresh  []*candidate // that are not ranked yet
	ranked []*candidate // by address, the best claim to each first
	bad    int          // how many go against their will, if nobody holds them

	rulings rulings // of operators, for single hosts

	changed bool    // since the last decision
	plain   bool    // shown is of the candidates alone, without a memory
	shown   Service // what was decided last
}

// keep makes ranked what is not stale, and what is new, and tells all of them what
// was decided for them.
func (c *candidates) keep(decisions []override.Override) {
	c.ranked = slices.DeleteFunc(c.ranked, func(cand *candidate) bool { return cand.stale })
	asked := c.fresh
	if c.rulings.update(decisions) {
		asked = slices.Concat(c.ranked, c.fresh)
	}
	for _, cand := range asked {
		cand.own = c.rulings.of(cand)
	}
	c.insert()
	c.bad = 0
	for _, cand := range c.ranked {
		if cand.wish.reason.against() {
			c.bad++
		}
	}
	c.rank()
}

const fewFresh = 16

// insert gives the fresh ones their places among the ranked.
func (c *candidates) insert() {
	if len(c.fresh) <= fewFresh {
		for _, cand := range c.fresh {
			i, _ := slices.BinarySearchFunc(c.ranked, cand, compareClaims)
			c.ranked = slices.Insert(c.ranked, i, cand)
		}
	} else {
		c.ranked = append(c.ranked, c.fresh...)
		slices.SortFunc(c.ranked, compareClaims)
	}
	c.fresh = nil
}

// keyOf is what the evidence about a member is filed under.
func keyOf(m *fleet.Member) probe.Key { return probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr} }

func memberCandidate(m *fleet.Member, key probe.Key, e probe.Evidence) *candidate {
	w := wishOf(m, e)
	shown := Host{Endpoint: m.Endpoint, ID: key.ID, Source: Gossip, State: w.state, Since: w.since, Started: m.Started}
	return &candidate{key: key, alive: m.Liveness == fleet.Alive, evidence: e, wish: w, shown: shown}
}

// manualCandidate is served without a question unless the operator wants it probed.
func manualCandidate(since time.Time, h *override.Host, evidence map[probe.Key]probe.Evidence) *candidate {
	c := &candidate{key: probe.Key{Addr: h.Addr}, wish: wish{state: StateHealthy}}
	if h.Probe {
		c.wish = probed(evidence[c.key])
	}
	if since.After(c.wish.since) {
		c.wish.since = since
	}
	c.shown = Host{Endpoint: h.Endpoint, Source: Manual, Probe: h.Probe, State: c.wish.state, Since: c.wish.since}
	return c
}

// unasked reports whether an operator wants c served whatever happens to it.
func (c *candidate) unasked() bool { return c.shown.Source == Manual && !c.shown.Probe }

// rank brings together the claims to each address, of which the first counts, and
// notes who is outranked. A decision for a host comes before the manual list.
func (c *candidates) rank() {
	for i, cand := range c.ranked {
		second := i > 0 && c.ranked[i-1].key.Addr == cand.key.Addr
		cand.superseded = second && c.ranked[i-1].shown.Source == Gossip
		rules := cand.own
		if cand.shown.Source == Manual && i+1 < len(c.ranked) && c.ranked[i+1].key.Addr == cand.key.Addr {
			rules = c.ranked[i+1].own // what was decided for the process is about its address in the list, too
		}
		cand.rule(rules)
		cand.forced = !second && rules.force()
		cand.outranked = second || rules.out() || (c.mode == override.Pin && cand.shown.Source == Gossip && !cand.forced)
	}
}

func (c *candidate) rule(rules *ruling) {
	if rules != c.rules {
		c.rules, c.decided = rules, nil
	}
}

// compareClaims puts the manual claim to an address first, then the process that
// started last. Its forerunner on that address is gone, even where gossip has not
// noticed yet; if clocks say otherwise, it is put last once it is known to be gone.
func compareClaims(a, b *candidate) int {
	if c := a.key.Addr.Compare(b.key.Addr); c != 0 {
		return c
	}
	return cmp.Or(
		first(a.shown.Source == Manual, b.shown.Source == Manual),
		first(!a.gone(), !b.gone()),
		first(a.alive, b.alive),
		b.shown.Started.Compare(a.shown.Started),
		cmp.Compare(a.key.ID, b.key.ID),
	)
}

// gone reports whether the process is known not to come back.
func (c *candidate) gone() bool { return c.wish.hidden && !c.wish.reason.mute() }

// first orders true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
