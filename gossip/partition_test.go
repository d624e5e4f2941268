package gossip

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// healLimit is how long after the end of a partition every member sees the full
// pool again, however long it lasted.
const healLimit = 15 * time.Second

func TestEveryMemberSeesTheFullPoolAgainAfterAPartition(t *testing.T) {
	const n = 12
	const short, long, longest = 2 * time.Second, time.Minute, 3 * time.Minute
	for _, c := range []struct {
		name  string
		seeds []int // which members are everybody's seeds
		cut   []int // who is parted from the rest, but not from each other
		lasts []time.Duration
		on    []Profile
	}{
		{"one side has the seeds", []int{0, 1}, span(n/2, n), []time.Duration{short, long, longest}, []Profile{LAN}},
		{"both sides have a seed", []int{0, n - 1}, span(n/2, n), []time.Duration{short, long}, []Profile{LAN}},
		{"the only seed is alone", []int{0}, span(0, 1), []time.Duration{short, long, longest}, []Profile{LAN}},
		{"who is no seed is alone", []int{0}, span(n-1, n), []time.Duration{short, long}, []Profile{LAN}},
		{"nobody has seeds", nil, span(n/2, n), []time.Duration{long}, []Profile{LAN}},
		{"another profile", []int{0, 1}, span(n/2, n), []time.Duration{long}, []Profile{WAN, Fast}},
	} {
		for _, lasts := range c.lasts {
			for _, profile := range c.on {
				t.Run(c.name+"/"+lasts.String()+"/"+string(profile), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, 30)
						pools := w.pool(profile, n, c.seeds)
						w.within(time.Minute, "all see each other", all(pools, fleet.Alive, n))
						cut := pools[c.cut[0] : c.cut[0]+len(c.cut)]
						w.net.Cut(addrs(cut)...)
						time.Sleep(lasts)
						if lasts == longest && !all(cut, fleet.Alive, len(cut))() {
							t.Error("the parts still see each other")
						}
						w.net.Heal(addrs(cut)...)
						took := w.within(healLimit, "all see each other again", all(pools, fleet.Alive, n))
						t.Logf("healed after %s", took)
					})
				})
			}
		}
	}
}

// pool starts n members, all of which have those numbered seeds for seeds; without
// any they remember those that started before.
func (w *world) pool(profile Profile, n int, seeds []int) []*Pool {
	binds := make([]string, n)
	opts := make([]Options, n)
	for i := range n {
		opts[i] = Options{Profile: profile, Bind: w.addr()}
		binds[i] = opts[i].Bind.String()
	}
	var pools []*Pool
	for i := range n {
		for _, s := range seeds {
			if s != i {
				opts[i].Seeds = append(opts[i].Seeds, binds[s])
			}
		}
		if len(seeds) == 0 {
			opts[i].Remembered = addrs(pools)
		}
		pools = append(pools, w.open(opts[i]))
	}
	return pools
}

func span(from, to int) []int {
	var all []int
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return slices.Clip(all)
}
