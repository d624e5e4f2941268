package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// candidate is one endpoint with what its own facts ask for.
type candidate struct {
	key      probe.Key
	of       *candidates
	shown    Host           // as known before rules are applied
	own      *ruling        // of operators about it; nil for none
	rules    *ruling        // the one that counts: a manual endpoint has also that of the member at its address
	alive    bool           // gossip says so
	onBehalf bool           // another process than the endpoint's registered it
	declines bool           // its member says that the endpoint is not to be served
	evidence probe.Evidence // that proposal was made of
	proposal proposal
	stale    bool // its facts have changed, another candidate takes its place

	// Of the service as a whole, by the last ranking.
	outranked  bool // it has no say: an operator keeps it out, or it is superseded
	forced     bool // an operator has it served whatever happens
	superseded bool // by another process at its address

	silent *silent // nil when it is not silent
}

// claim is a candidate at its place among the others, with what came of it.
type claim struct {
	*candidate
	host   *Host // what is shown of it; nil for nothing
	judged bool  // host holds for as long as nothing is remembered of the service
}

// candidates are all that could be served under one name. They stay from one
// Snapshot to the next, so that a Snapshot costs what changed.
type candidates struct {
	name   string
	mode   override.Mode
	manual []*candidate
	fresh  []*candidate  // that are not ranked yet
	stale  []*candidate  // that are still ranked
	ranked []claim       // by address, the best claim to each first
	by     override.Mode // that they are ranked by
	bad    int           // how many would be removed although they did not leave

	rulings rulings // of operators, for single endpoints

	changed bool    // since the last Snapshot
	plain   bool    // shown is of the candidates alone, without a memory
	shown   Service // as of the last Snapshot
}

// reach is how much of a service this server reaches, but for what hangs.
type reach int

const (
	nothing reach = iota // nothing speaks for any endpoint
	unheard              // some may serve, but none has answered its last probe
	heard                // some endpoint answers, or is served without being asked
)

func (c *candidates) reach() (r reach) {
	for _, cand := range c.ranked {
		w := &cand.proposal
		switch {
		case w.reason != none || cand.outranked:
		case w.heard || cand.unasked() || cand.evidence.Unable:
			return heard
		default:
			r = unheard
		}
	}
	return r
}

// few is how many candidates are given their places one by one.
const few = 16

// keep makes ranked of what is not stale and what is new, and gives each candidate its
// ruling.
func (c *candidates) keep(overrides []override.Override) {
	ruled := c.rulings.update(overrides)
	for _, cand := range c.fresh {
		cand.own = c.rulings.of(cand)
		c.count(cand, 1)
	}
	for _, cand := range c.stale {
		c.count(cand, -1)
	}
	all := ruled || c.mode != c.by
	if len(c.fresh)+len(c.stale) <= few {
		c.replace()
	} else {
		c.sort()
		all = true
	}
	if ruled {
		for i := range c.ranked {
			c.ranked[i].own = c.rulings.of(c.ranked[i].candidate)
		}
	}
	if all {
		c.rank(0, len(c.ranked))
	}
	c.fresh, c.stale, c.by = nil, nil, c.mode
}

func (c *candidates) count(cand *candidate, n int) {
	if cand.proposal.reason.against() {
		c.bad += n
	}
}

// replace takes the stale ones from their places and gives the fresh ones theirs.
func (c *candidates) replace() {
	for _, cand := range c.stale {
		i, _ := c.search(cand)
		for c.ranked[i].candidate != cand {
			i++
		}
		c.ranked = slices.Delete(c.ranked, i, i+1)
		c.rank(i-1, i+1)
	}
	for _, cand := range c.fresh {
		i, _ := c.search(cand)
		c.ranked = slices.Insert(c.ranked, i, claim{candidate: cand})
		c.rank(i-1, i+2)
	}
}

// search finds the place of cand.
func (c *candidates) search(cand *candidate) (int, bool) {
	return slices.BinarySearchFunc(c.ranked, cand, func(c claim, cand *candidate) int { return compareClaims(c.candidate, cand) })
}

// sort does what replace does where many have changed.
func (c *candidates) sort() {
	c.ranked = slices.DeleteFunc(c.ranked, func(c claim) bool { return c.candidate.stale })
	for _, cand := range c.fresh {
		c.ranked = append(c.ranked, claim{candidate: cand})
	}
	slices.SortFunc(c.ranked, func(a, b claim) int { return compareClaims(a.candidate, b.candidate) })
}

// keyOf is what the evidence about a member is filed under.
func keyOf(m *fleet.Member) probe.Key { return probe.Key{ID: m.ID.String(), Addr: m.Endpoint.Addr} }

func memberCandidate(m *fleet.Member, key probe.Key, e probe.Evidence) *candidate {
	w := proposalOf(m, e)
	shown := Host{Endpoint: m.Endpoint, ID: key.ID, Source: Gossip, State: w.state, Since: w.since, Started: m.Started}
	return &candidate{
		key: key, alive: m.Liveness == fleet.Alive, evidence: e, proposal: w, shown: shown,
		onBehalf: m.Probe.OnBehalf, declines: m.Endpoint.Health != fleet.Healthy,
	}
}

// manualCandidate is served without a question unless the operator wants it probed.
func manualCandidate(since time.Time, h *override.Host, evidence map[probe.Key]probe.Evidence) *candidate {
	c := &candidate{key: probe.Key{Addr: h.Addr}, proposal: proposal{state: StateHealthy}}
	if h.Probe {
		c.proposal = probed(evidence[c.key])
	}
	if since.After(c.proposal.since) {
		c.proposal.since = since
	}
	c.shown = Host{Endpoint: h.Endpoint, Source: Manual, Probe: h.Probe, State: c.proposal.state, Since: c.proposal.since}
	return c
}

// unasked reports whether an operator wants c served whatever happens to it.
func (c *candidate) unasked() bool { return c.shown.Source == Manual && !c.shown.Probe }

// rank brings together the claims to each address, of which the first counts, and
// notes who is outranked, for those from one place to before another: it depends on
// their neighbours. An override for an endpoint comes before the manual list.
func (c *candidates) rank(from, to int) {
	for i := max(from, 0); i < min(to, len(c.ranked)); i++ {
		cand := &c.ranked[i]
		second := i > 0 && c.ranked[i-1].key.Addr == cand.key.Addr
		cand.superseded = second && c.ranked[i-1].shown.Source == Gossip
		rules := cand.own
		if cand.shown.Source == Manual && i+1 < len(c.ranked) && c.ranked[i+1].key.Addr == cand.key.Addr {
			rules = c.ranked[i+1].own // a ruling for the process counts for its address in the list, too
		}
		if cand.rules != rules {
			cand.rules, cand.host = rules, nil
		}
		cand.forced = !second && rules.force()
		cand.outranked = second || rules.out() || (c.mode == override.Pin && cand.shown.Source == Gossip && !cand.forced)
		cand.judged = false
	}
}

// outcome is what is decided for one endpoint.
type outcome struct {
	served, held bool
	since, until time.Time // of an endpoint that is damped
}

// show makes host of o: the same value where nothing changed.
func (c *claim) show(o outcome) {
	if h := c.host; h != nil && h.Served == o.served && h.Held == o.held && h.Until.Equal(o.until) && (o.until.IsZero() || h.Since.Equal(o.since)) {
		return
	}
	h := c.rules.apply(c.shown)
	h.Served, h.Held = o.served, o.held
	if h.Held && c.proposal.reason == hanging {
		h.State = StateContradicted
	}
	if !o.until.IsZero() {
		h.State, h.Since, h.Until = StateDamped, o.since, o.until
	}
	c.host = &h
}

// compareClaims puts the manual claim to an address first, then the process that
// started last. One that is not shown, because gossip lost it before any probe reached
// it, takes no address from one that is. Its predecessor at that address has ended, even where gossip has not
// noticed yet; if clocks say otherwise, it is put last once it is known to have ended.
// A process that registered itself decides for itself. Of those that others
// registered, one that is draining or unhealthy yields to one that is not: it may be
// about its registrar alone. Where no process is left that could say more, the one that
// was registered last decides, even if it says that the endpoint leaves.
func compareClaims(a, b *candidate) int {
	if c := a.key.Addr.Compare(b.key.Addr); c != 0 {
		return c
	}
	later := func() int { return cmp.Or(b.shown.Started.Compare(a.shown.Started), cmp.Compare(a.key.ID, b.key.ID)) }
	class := cmp.Or(
		first(a.shown.Source == Manual, b.shown.Source == Manual),
		first(!a.past(), !b.past()),
	)
	if class != 0 || a.past() {
		return cmp.Or(class, first(!a.unseen(), !b.unseen()), later())
	}
	return cmp.Or(
		first(a.alive, b.alive),
		first(!a.proposal.hidden, !b.proposal.hidden),
		first(!a.onBehalf, !b.onBehalf),
		first(!a.yields(), !b.yields()),
		later(),
	)
}

// past reports whether c's process will send nothing more: it has ended, or it
// registered another one, and neither gossip nor a stream reaches it.
func (c *candidate) past() bool {
	return c.gone() || c.onBehalf && !c.alive && !c.evidence.Verified
}

// unseen reports whether c is not shown although its process may come back.
func (c *candidate) unseen() bool { return c.proposal.hidden && !c.gone() }

// yields reports whether another claim to the address may overrule what c says.
func (c *candidate) yields() bool { return c.onBehalf && c.declines }

// gone reports whether the process is known not to return.
func (c *candidate) gone() bool { return c.proposal.hidden && !c.proposal.reason.silent() }

// departed reports whether c is known to have left or died. Where another process has
// its address, that one is the endpoint, whether it is known here or not.
func (c *candidate) departed() bool { return c.gone() && c.evidence.Verdict != probe.Replaced }

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
