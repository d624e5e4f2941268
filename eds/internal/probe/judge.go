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
	Dead     Verdict = "dead"     // all its ports refuse, and its process answers no challenge
	Hanging  Verdict = "hanging"  // its port is silent, its gossip answers
	Silent   Verdict = "silent"   // its port and its gossip are silent

	// Contradicted: connections to it are refused or lost, but its process answers a
	// challenge over UDP, from here or from another member. A firewall or a broken link
	// looks like that; a dead process does not.
	Contradicted Verdict = "contradicted"
)

// word is the answer of a further witness.
type word int

const (
	unasked word = iota
	nobody       // there is no second witness
	vouched      // it answers others, or what is lost on the way to it is lost for all of its ports
	refuses      // the port refuses too
	answers      // the port accepts, or a ping was answered
	mute         // nothing was heard, or none of what was asked for
	lives        // a ping was answered, and the endpoint's own port accepts
)

const (
	failingAfter = 2 // answers in a row other than good ones
	silentAfter  = 3 // time-outs in a row, while no other endpoint has any
	// While all others time out, this many more are required: silence that is
	// shared is the network's, or our own (compare Lifeguard's local health).
	silentMore = 12
	// The factor by which each time-out grows while all others time out.
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
	said   word // by gossip, of this silence; unasked before that, and once it counts no more
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

// testimony is what the witnesses to a refusal have said so far.
type testimony struct {
	tcp       word // the gossip port: refuses, answers, mute, or not asked
	udp       word // the same port over UDP: refuses, mute
	challenge word // the process: answers, mute
	overdue   bool // an answer to the challenge should be here by now
}

// add notes what one of them said.
func (t *testimony) add(who witness, said word) {
	switch who {
	case gossipPort:
		t.tcp = said
	case datagramPort:
		t.udp = said
	case challenged:
		t.challenge = said
	case challengeTime:
		t.overdue = true
	case gossipPings:
	}
}

// verdict is what the testimony amounts to; Unknown as long as it proves nothing. Patient
// waits for all of it: an endpoint that was wrongly taken for dead before may be slow to answer.
func (t testimony) verdict(patient bool) Verdict {
	switch {
	case t.tcp == nobody:
		return Dead
	case t.tcp == unasked:
		return Unknown
	case t.tcp != refuses:
		return Refused
	case t.challenge == answers:
		return Contradicted
	case t.challenge == mute, !patient && (t.udp == refuses || t.overdue):
		return Dead
	default:
		return Unknown
	}
}

// refused notes what is known after the serving port refused, and returns the verdict on
// it. After Dead it may be called again with more: a late answer still counts.
func (j *judge) refused(t testimony) Verdict {
	v := t.verdict(j.verdict == Contradicted)
	if v == Unknown {
		return v
	}
	j.heard()
	j.bad, j.gone = 0, true
	switch {
	case v == Dead:
		j.verdict = Dead
	case v == Refused:
		j.suspect(Refused)
	default:
		j.contradict()
	}
	return v
}

func (j *judge) heard() { j.gone, j.late, j.silent, j.said = false, false, 0, unasked }

// suspect gives a verdict that is no proof, unless there was proof before that the
// process has ended.
func (j *judge) suspect(v Verdict) {
	if j.verdict != Dead && j.verdict != Replaced {
		j.verdict = v
	}
}

// timeout notes a time-out while the given share of the other endpoints has them
// too. It reports whether gossip is to be asked now: one time-out before its answer
// is needed, so that the verdict does not wait for it.
func (j *judge) timeout(share float64) bool {
	j.late, j.bad = true, 0
	j.silent++
	if j.verdict == Contradicted {
		return true
	}
	j.enough = silentAfter + int(math.Ceil(silentMore*share))
	if j.silent < j.enough-1 {
		j.said = unasked // what it said would be old by then
		return false
	}
	j.weigh()
	return j.silent > 0 && j.said == unasked
}

// pinged notes what gossip said when it was asked after time-outs. A contradicted endpoint
// is asked about after each, and is given up only when two words in a row speak against it:
// where a firewall stops dropping packets between the probe and the question, the first one
// looks like a hang.
func (j *judge) pinged(said word) {
	again := said == j.said
	j.said = said
	switch {
	case j.verdict != Contradicted:
		j.weigh()
	case said != vouched && again:
		j.conclude()
	}
}

// contradict notes that the process lives. What its answers said before counts on.
func (j *judge) contradict() {
	if j.verdict != Failing && j.verdict != Hanging && j.verdict != Replaced {
		j.verdict = Contradicted
	}
}

func (j *judge) weigh() {
	if j.silent < j.enough || j.said == unasked {
		return
	}
	j.conclude()
}

func (j *judge) conclude() {
	switch j.said {
	case answers:
		j.suspect(Hanging)
	case vouched:
		j.contradict()
	default:
		j.suspect(Silent)
	}
	j.gone, j.silent, j.said = true, 0, unasked
}
