package model

import (
	"math"
	"slices"
	"time"
)

// The words about a member that crashed: it is dead, or who suspects it.
const dead word = -1

func suspectedBy(member int) word { return word(member) }

// crash is what the members think of the one that crashed.
type crash struct {
	*pool
	minds      []mind
	confirm    int           // suspicions by others that make it certain
	least, max time.Duration // that a suspicion takes
}

// mind is what one member thinks.
type mind struct {
	dead   bool
	by     []word        // whose suspicion it has heard of, in that order
	since  time.Duration // of the first
	until  time.Duration // when it takes the other for dead
	rounds time.Duration // when its round of probes began that is under way
}

// Crash follows what the members think of one that went without a word, until all
// hold it for dead.
func Crash(o Options) Times {
	c := &crash{pool: newPool(o, o.Members-1), minds: make([]mind, o.Members-1), confirm: o.Config.SuspicionMult - 2}
	if o.Members-2 < c.confirm {
		c.confirm = 0
	}
	scale := max(1, math.Log10(float64(o.Members)))
	c.least = time.Duration(o.Config.SuspicionMult) * time.Duration(scale*1000) * o.Config.ProbeInterval / 1000
	c.max = time.Duration(o.Config.SuspicionMaxTimeoutMult) * c.least
	c.pool.hear, c.pool.exchange, c.pool.due = c.hear, c.exchange, c.due
	for i := range c.minds {
		c.firstProbe(i)
	}
	c.run()
	return c.times()
}

// round is how long a member takes to probe all others once.
func (c *crash) round() time.Duration { return time.Duration(c.Members-1) * c.Config.ProbeInterval }

// firstProbe is due in the round that is under way, or in the one after. The event
// is the end of the probe, which gets no answer.
func (c *crash) firstProbe(i int) {
	gone, turn := c.upTo(c.round()), c.upTo(c.round())
	c.minds[i].rounds = -gone
	if turn < gone {
		c.minds[i].rounds += c.round()
		turn = c.upTo(c.round())
	}
	c.at(c.minds[i].rounds+turn+c.Config.ProbeInterval, i, other, suspectedBy(i))
}

// due is a probe that has failed or, as the word dead, a suspicion that has run out.
func (c *crash) due(i int, w word) {
	m := &c.minds[i]
	switch {
	case m.dead:
	case w != dead:
		m.rounds += c.round()
		c.at(m.rounds+c.upTo(c.round())+c.Config.ProbeInterval, i, other, w)
		c.tell(i, w)
	case m.until == c.now:
		c.tell(i, dead)
	}
}

// hear implements memberlist's suspectNode and deadNode.
func (c *crash) hear(i int, w word) bool {
	m := &c.minds[i]
	switch {
	case m.dead:
		return false
	case w == dead:
		m.dead = true
		c.know(i)
		return true
	case len(m.by) == 0:
		m.since = c.now
	case len(m.by) > c.confirm || slices.Contains(m.by, w):
		return false
	}
	m.by = append(m.by, w)
	m.until = max(c.now, m.since+c.patience(len(m.by)-1))
	c.at(m.until, i, other, dead)
	return true
}

// patience is how long a suspicion lasts that so many others share.
func (c *crash) patience(confirmed int) time.Duration {
	if c.confirm == 0 {
		return c.least
	}
	share := math.Log(float64(confirmed)+1) / math.Log(float64(c.confirm)+1)
	return max(c.least, c.max-time.Duration(share*float64(c.max-c.least)))
}

// exchange makes each suspect whom the other suspects or holds for dead.
func (c *crash) exchange(i, j int) {
	bad := func(m mind) bool { return m.dead || len(m.by) > 0 }
	mine, theirs := bad(c.minds[i]), bad(c.minds[j])
	if theirs {
		c.tell(i, suspectedBy(i))
	}
	if mine {
		c.tell(j, suspectedBy(j))
	}
}
