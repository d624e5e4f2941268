// Package model computes how long a word of gossip takes through a pool, and what a
// pool costs, for more members than can be run. It simulates one word at a time:
// memberlist 0.7.0's gossip, probes, suspicion and push/pull as its source has them,
// in a network that loses nothing and takes no time. The tests of package gossip
// hold it against real members. The same seed gives the same figures.
package model

import (
	"math"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Options describe a pool.
type Options struct {
	Config  *memberlist.Config // of every member
	Members int                // 3 or more
	Seed    uint64

	// Words is how many other words a second the pool says meanwhile, each of
	// WordSize bytes. When more is to be sent than fits, newer words go first, and
	// each is sent less often.
	Words    float64
	WordSize int
}

// Times are when the members know, counted from when it happened. What takes longer
// than ten minutes is given as ten minutes.
type Times struct {
	Half, Most, All time.Duration // 50 %, 99 % and all of them
	Observer        time.Duration // one of them, drawn at random: an EDS server
}

// horizon ends a simulation in which the word does not reach everybody.
const horizon = 10 * time.Minute

// Change follows the word that a member's metadata changed.
func Change(o Options) Times { return spread(o, 0) }

// Join follows the word of a member that has just joined through a seed: both say it.
func Join(o Options) Times { return spread(o, 0, 1) }

func spread(o Options, origins ...int) Times {
	p := newPool(o, o.Members)
	knows := make([]bool, o.Members)
	p.hear = func(i int, _ word) bool {
		news := !knows[i]
		if news {
			knows[i] = true
			p.know(i)
		}
		return news
	}
	p.exchange = func(i, j int) {
		if knows[i] != knows[j] {
			p.tell(i, 0)
			p.tell(j, 0)
		}
	}
	for _, i := range origins {
		p.tell(i, 0)
	}
	p.run()
	return p.times()
}

// Median is the median of each figure over runs whose seeds count on from o's.
func Median(o Options, runs int, f func(Options) Times) Times {
	all := make([]Times, runs)
	for i := range all {
		all[i] = f(o)
		o.Seed++
	}
	median := func(of func(Times) time.Duration) time.Duration {
		figures := make([]time.Duration, runs)
		for i, t := range all {
			figures[i] = of(t)
		}
		slices.Sort(figures)
		return figures[runs/2]
	}
	return Times{
		Half: median(func(t Times) time.Duration { return t.Half }), Most: median(func(t Times) time.Duration { return t.Most }),
		All: median(func(t Times) time.Duration { return t.All }), Observer: median(func(t Times) time.Duration { return t.Observer }),
	}
}

// Sends is how often a member sends each word: memberlist's retransmit limit, or
// less while more words are said than fit into its packets.
func (o Options) Sends() int {
	limit := o.Config.RetransmitMult * int(math.Ceil(math.Log10(float64(o.Members+1))))
	if o.Words == 0 {
		return limit
	}
	fits := o.packets() * float64(perPacket(o.Config, o.WordSize)) / o.Words
	return max(1, min(limit, int(fits)))
}

// Room is how many words of WordSize bytes a second the pool can say with each sent
// as often as memberlist wants.
func (o Options) Room() float64 {
	o.Words = 0
	return o.packets() * float64(perPacket(o.Config, o.WordSize)) / float64(o.Sends())
}

// packets is how many packets of gossip a member sends in a second at most.
func (o Options) packets() float64 {
	return float64(min(o.Config.GossipNodes, o.Members-1)) / o.Config.GossipInterval.Seconds()
}

// exchangeEvery is how often a member begins a push/pull.
func (o Options) exchangeEvery() time.Duration {
	const threshold = 32 // members, up to which the interval is the one set
	if o.Members <= threshold {
		return o.Config.PushPullInterval
	}
	steps := math.Ceil(math.Log2(float64(o.Members))-math.Log2(threshold)) + 1
	return time.Duration(steps) * o.Config.PushPullInterval
}
