package registry

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The states of a host, as the API shows them.
const (
	StateHealthy   = "healthy"
	StateUnhealthy = "unhealthy" // it says so itself, or its answers do
	StateDraining  = "draining"  // it is about to leave
	StateDead      = "dead"      // its ports refuse connections
	StateRefusing  = "refusing"  // its port refuses while its gossip port accepts
	StateHanging   = "hanging"   // its port is silent while its gossip answers
	StateSilent    = "silent"    // nothing of it answers
	StateDamped    = "damped"    // it is back, but has come and gone too often
)

// reason says what takes a host out; it decides who may object.
type reason int

const (
	none         reason = iota
	graceful            // it asked for it
	proven              // by its own word, its answers, or a refusal
	silence             // nothing was heard, which proves nothing
	contradicted        // its port refuses but its gossip port accepts
)

// wish is what one host's own facts ask for, before guard and damping.
type wish struct {
	state  string
	reason reason // none: serve it
	since  time.Time
	late   bool // its last probe timed out
	hidden bool // it is gone and not worth showing
}

// wishOf weighs what a member says, what gossip says of it and what its probe saw.
// A good answer outranks gossip: that a member cannot be heard of does not mean
// that it does not serve.
func wishOf(m fleet.Member, e probe.Evidence) wish {
	switch {
	case m.Liveness == fleet.Left || e.Verdict == probe.Replaced:
		return wish{hidden: true, reason: graceful}
	case m.Endpoint.Health == fleet.Draining:
		return wish{state: StateDraining, reason: graceful, since: m.Since, hidden: m.Liveness != fleet.Alive}
	}
	w := wish{since: e.Since, late: e.Late}
	switch e.Verdict {
	case probe.Dead:
		w.state, w.reason, w.hidden = StateDead, proven, m.Liveness == fleet.Dead
	case probe.Refused:
		w.state, w.reason = StateRefusing, contradicted
	case probe.Failing:
		w.state, w.reason = StateUnhealthy, proven
	case probe.Hanging:
		w.state, w.reason = StateHanging, proven
	case probe.Silent:
		w.state, w.reason = StateSilent, silence
	default: // good, or not known
		return published(m, e, w)
	}
	return w
}

// published goes by what the member and gossip say, where the probe has nothing
// against it. Only an answer with the member's own uuid outweighs its death.
func published(m fleet.Member, e probe.Evidence, w wish) wish {
	w.since = m.Since
	switch {
	case m.Endpoint.Health == fleet.Unhealthy:
		w.state, w.reason, w.hidden = StateUnhealthy, proven, m.Liveness == fleet.Dead
	case m.Liveness == fleet.Dead && !(e.Verdict == probe.Good && e.Verified):
		w.state, w.reason = StateSilent, silence
	default:
		w.state = StateHealthy
		if e.Verdict == probe.Good && e.Since.After(w.since) {
			w.since = e.Since
		}
	}
	return w
}
