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

// word is what a second witness said: the gossip port after a refusal, or gossip
// itself after time-outs.
type word int

const (
	unasked word = iota
	nobody       // there is no second witness
	refuses      // the port refuses too
	answers      // the port accepts, or a ping was answered
	mute         // nothing was heard
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
	named   bool   // an answer has carried it: its process puts it into each
	verdict Verdict
	gone    bool // it refused or was judged silent: no answer is expected of it
	late    bool // the last probe timed out
	bad     int  // answers other than good ones, in a row

	silent int  // time-outs in a row since the last answer or the last verdict on them
	enough int  // so many make a verdict
	said   word // by gossip, of this silence
}

// answer notes an answer: whether it was a good one, and the uuid it carried, if any.
// A bad answer without one may come from the process anyway: net/http, or a proxy in
// front of it, writes some without asking its handler.
func (j *judge) answer(good bool, id string) {
	j.heard()
	j.named = j.named || j.expect != "" && id == j.expect
	if another := id != "" && id != j.expect || id == "" && good && j.named; another && j.expect != "" {
		j.bad, j.verdict = 0, Replaced
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

// refused notes that the serving port refused, and what the gossip port said.
func (j *judge) refused(said word) {
	j.heard()
	j.bad, j.gone = 0, true
	if said == nobody || said == refuses {
		j.verdict = Dead
		return
	}
	j.suspect(Refused)
}

func (j *judge) heard() { j.gone, j.late, j.silent, j.said = false, false, 0, unasked }

// suspect gives a verdict that is no proof, unless there was proof before that the
// process is gone.
func (j *judge) suspect(v Verdict) {
	if j.verdict != Dead && j.verdict != Replaced {
		j.verdict = v
	}
}

// timeout notes a time-out while the given share of the other endpoints has them
// too. It reports whether gossip is to be asked now: one time-out before its word
// is needed, so that nobody waits for it.
func (j *judge) timeout(share float64) bool {
	j.late, j.bad = true, 0
	j.silent++
	j.enough = silentAfter + int(math.Ceil(silentMore*share))
	if j.silent < j.enough-1 {
		j.said = unasked // what it said would be old by then
		return false
	}
	j.weigh()
	return j.silent > 0 && j.said == unasked
}

// pinged notes what gossip said when it was asked after time-outs.
func (j *judge) pinged(said word) {
	j.said = said
	j.weigh()
}

func (j *judge) weigh() {
	if j.silent < j.enough || j.said == unasked {
		return
	}
	if j.said == answers {
		j.suspect(Hanging)
	} else {
		j.suspect(Silent)
	}
	j.gone, j.silent, j.said = true, 0, unasked
}
