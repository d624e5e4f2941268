package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The states of an endpoint, as the API shows them.
const (
	StateHealthy   = "healthy"
	StateUnhealthy = "unhealthy" // it says so itself, or its answers do
	StateDraining  = "draining"  // it is about to leave
	StateDead      = "dead"      // its ports refuse connections
	StateRefusing  = "refusing"  // its port refuses while its gossip port accepts
	StateHanging   = "hanging"   // its port is silent while its gossip answers, and others are heard
	StateSilent    = "silent"    // nothing of it answers
	StateDamped    = "damped"    // it serves again, but has changed too often

	// StateContradicted is of a host whose ports refuse connections, or lose them, while its
	// process answers: something between this server and the host does so.
	StateContradicted = "contradicted"
)

// reason says why an endpoint would be removed; it decides which rules may keep it.
type reason int

const (
	none         reason = iota
	graceful            // it asked for it
	proven              // by its own report, its answers, or a refusal
	silence             // nothing was heard, which proves nothing
	refusing            // its port refuses but its gossip port accepts
	contradicted        // what speaks against it is contradicted by a fresh answer
	hanging             // its port is silent while its gossip answers
)

// against reports whether the endpoint would be removed without having asked for it.
func (r reason) against() bool { return r > graceful }

// silent reports whether the endpoint may be held.
func (r reason) silent() bool { return r >= silence }

// proposal is what one endpoint's own facts ask for, before guard, damping and overrides.
type proposal struct {
	state      string
	reason     reason // none: serve it
	since      time.Time
	hidden     bool // not worth showing unless it is served
	gossipOnly bool // only gossip says that it is dead

	tried bool // some probe had an outcome
	late  bool // its last probe timed out
	heard bool // its last probe was answered, possibly with a refusal
}

// probed is what the probes ask for.
func probed(e probe.Evidence) proposal {
	w := proposal{state: StateHealthy, since: e.Since, tried: e.Tried, late: e.Late}
	w.heard = e.Tried && !e.Late && e.Verdict != probe.Silent && e.Verdict != probe.Hanging
	switch e.Verdict {
	case probe.Replaced:
		w.state, w.reason, w.hidden = StateDead, proven, true
	case probe.Dead:
		w.state, w.reason = StateDead, proven
	case probe.Failing:
		w.state, w.reason = StateUnhealthy, proven
	case probe.Hanging:
		w.state, w.reason = StateHanging, hanging
	case probe.Silent:
		w.state, w.reason = StateSilent, silence
	case probe.Refused:
		w.state, w.reason = StateRefusing, refusing
	case probe.Contradicted:
		w.state, w.reason = StateContradicted, contradicted
	case probe.Good, probe.Unknown:
	}
	return w
}

// proposalOf weighs what a member says, what gossip says of it and what its probes
// saw. Its own request to leave comes first. An answer with its uuid outranks gossip:
// that it cannot be heard of does not mean that it does not serve. So does a program
// that outlives the process that reported for it, or that registered it.
func proposalOf(m *fleet.Member, e probe.Evidence) proposal {
	w := probed(e)
	lost := m.Liveness == fleet.Dead
	switch {
	case m.Liveness == fleet.Left || m.Endpoint.Health == fleet.Draining:
		w.state, w.reason, w.since, w.hidden = StateDraining, graceful, m.Since, m.Liveness != fleet.Alive
	case w.state == StateDead:
		w.hidden = w.hidden || lost
	case m.Endpoint.Health == fleet.Unhealthy:
		w.state, w.reason, w.since, w.hidden = StateUnhealthy, proven, m.Since, lost
	case w.reason != none:
	case lost && !outlives(m, e):
		w.state, w.reason, w.since, w.gossipOnly, w.hidden = StateSilent, silence, m.Since, true, !e.Tried
	case m.Since.After(w.since):
		w.since = m.Since
	}
	return w
}

// outlives reports whether probes show that the endpoint of lost member m serves. A program
// that m registered, or that ran under it, has no uuid: it counts for as long as its answers
// have been good since before m was lost. Afterwards another process may be at its address.
func outlives(m *fleet.Member, e probe.Evidence) bool {
	checked := m.Probe.OnBehalf && m.Probe.Kind != fleet.ProbeNone
	unbroken := (e.Alone || checked) && !e.Since.After(m.Since)
	return e.Verdict == probe.Good && (e.Verified || unbroken)
}
