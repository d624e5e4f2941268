package probe

import "math"

// Verdict is what the probes of one endpoint amount to.
type Verdict string

// The verdicts.
const (
	Unknown  Verdict = ""         // no answer yet, and nothing proven either
	Good     Verdict = "good"     // its last answer was a good one
	Failing  Verdict = "failing"  // it answers, and says that it cannot serve
	Replaced Verdict = "replaced" // another process answers at its address
	Refused  Verdict = "refused"  // its port refuses, its gossip port does not
	Dead     Verdict = "dead"     // all its ports refuse
	Hanging  Verdict = "hanging"  // its port is silent, its gossip answers
	Silent   Verdict = "silent"   // its port and its gossip are silent
)

// witness is what the gossip port said when the serving port refused.
type witness int

const (
	witnessNone    witness = iota // there is none
	witnessRefuses                // it refuses too
	witnessAccepts                // it accepts
	witnessMute                   // it says nothing
)

const (
	failingAfter = 2 // answers in a row other than good ones
	silentAfter  = 3 // time-outs in a row, when nobody else has any
	// With everybody else timing out, this many more are wanted: silence that is
	// shared is the network's, or our own (compare Lifeguard's local health).
	silentMore = 12
	// By this factor each time-out grows when everybody else is timing out.
	patience = 3
)

// judge turns what was seen of one endpoint into a verdict. It is pure: the
// watcher feeds it, in order.
type judge struct {
	expect  string // the uuid that answers should carry; "" accepts any
	verdict Verdict
	bad     int // answers other than good ones, in a row
	silent  int // time-outs in a row since the last answer or the last look for witnesses
}

// answer notes an answer: whether it was a good one, and the uuid it carried, if any.
func (j *judge) answer(good bool, id string) {
	j.silent = 0
	if j.expect != "" && id != "" && id != j.expect {
		j.verdict = Replaced
		return
	}
	if good {
		j.bad, j.verdict = 0, Good
		return
	}
	if j.bad++; j.bad >= failingAfter {
		j.verdict = Failing
	}
}

// timeout notes a time-out while the given share of the other endpoints has them
// too. It reports whether witnesses are to be asked now.
func (j *judge) timeout(share float64) bool {
	j.bad = 0
	j.silent++
	return j.silent >= silentAfter+int(math.Ceil(silentMore*share))
}

// pinged notes what gossip said when it was asked after the time-outs.
func (j *judge) pinged(answered bool) {
	if j.silent == 0 {
		return // an answer was quicker
	}
	j.silent = 0
	j.verdict = Silent
	if answered {
		j.verdict = Hanging
	}
}

// refused notes that the serving port refused, and what the witness said.
func (j *judge) refused(w witness) {
	j.silent, j.bad = 0, 0
	switch w {
	case witnessNone, witnessRefuses:
		j.verdict = Dead
	default:
		j.verdict = Refused
	}
}
