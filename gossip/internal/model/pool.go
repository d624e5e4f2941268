package model

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// word is what is gossiped: of a change there is one, for a crash see there.
type word int32

// pool is the simulation. Each member gossips one word at most, about one and the
// same member: a newer word about it takes the place of the older one, as it does
// in memberlist.
type pool struct {
	Options
	rand   *rand.Rand
	alive  int // members 0 to alive-1 take part, what is sent to others is lost
	sends  int
	now    time.Duration
	queue  events
	mouths []mouth
	knew   []time.Duration // when each member came to know, in that order
	seen   time.Duration   // when the observer did
	eye    int             // the observer

	hear     func(member int, w word) bool // whether it is news to be passed on
	exchange func(i, j int)                // a push/pull
	due      func(member int, w word)      // any other event
}

// mouth is what a member is saying.
type mouth struct {
	word  word
	left  int           // times
	phase time.Duration // of its gossip timer
	ticks bool          // an event is in the queue
}

type kind int8

const (
	gossip kind = iota
	pushPull
	other
)

type event struct {
	at     time.Duration
	member int32
	word   word
	kind   kind
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// newPool returns a pool of which the last members are not there any more.
func newPool(o Options, alive int) *pool {
	p := &pool{Options: o, rand: rand.New(rand.NewPCG(o.Seed, uint64(o.Members))), alive: alive, sends: o.Sends(), mouths: make([]mouth, alive)}
	p.eye = p.rand.IntN(alive)
	for i := range p.mouths {
		p.mouths[i].phase = p.upTo(o.Config.GossipInterval)
		p.at(p.upTo(o.exchangeEvery()), i, pushPull, 0)
	}
	return p
}

func (p *pool) upTo(d time.Duration) time.Duration { return time.Duration(p.rand.Int64N(int64(d))) }

func (p *pool) at(t time.Duration, member int, k kind, w word) {
	heap.Push(&p.queue, event{at: t, member: int32(member), kind: k, word: w})
}

// run ends when all know.
func (p *pool) run() {
	for len(p.knew) < p.alive && p.now < horizon {
		e := heap.Pop(&p.queue).(event)
		p.now = e.at
		switch i := int(e.member); e.kind {
		case gossip:
			p.say(i)
		case pushPull:
			p.at(p.now+p.exchangeEvery(), i, pushPull, 0)
			if j := p.rand.IntN(p.alive - 1); j < i {
				p.exchange(i, j)
			} else {
				p.exchange(i, j+1)
			}
		case other:
			p.due(i, e.word)
		}
	}
}

// tell has a member hear a word, and pass it on at its next beat.
func (p *pool) tell(i int, w word) {
	if !p.hear(i, w) {
		return
	}
	m := &p.mouths[i]
	m.word, m.left = w, p.sends
	if !m.ticks {
		m.ticks = true
		beat := p.Config.GossipInterval
		p.at(m.phase+(p.now-m.phase+beat)/beat*beat, i, gossip, 0)
	}
}

// say sends what a member has to say to a few others.
func (p *pool) say(i int) {
	m := &p.mouths[i]
	for _, j := range p.others(i) {
		if m.left == 0 {
			break
		}
		m.left--
		if j < p.alive {
			p.tell(j, m.word)
		}
	}
	if m.ticks = m.left > 0; m.ticks {
		p.at(p.now+p.Config.GossipInterval, i, gossip, 0)
	}
}

// others draws whom a member sends its gossip to.
func (p *pool) others(i int) []int {
	picked := make([]int, 0, 8)
	for want := min(p.Config.GossipNodes, p.Members-1); len(picked) < want; {
		if j := p.rand.IntN(p.Members); j != i && !slices.Contains(picked, j) {
			picked = append(picked, j)
		}
	}
	return picked
}

// know notes that a member has come to know.
func (p *pool) know(i int) {
	p.knew = append(p.knew, p.now)
	if i == p.eye {
		p.seen = p.now
	}
}

func (p *pool) times() Times {
	for len(p.knew) < p.alive {
		p.knew = append(p.knew, horizon)
		if p.seen == 0 {
			p.seen = horizon
		}
	}
	share := func(percent int) time.Duration { return p.knew[(p.alive*percent+99)/100-1] }
	return Times{Half: share(50), Most: share(99), All: share(100), Observer: p.seen}
}
