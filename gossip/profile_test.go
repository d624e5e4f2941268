package gossip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestProfilesAreReadByTheirNames(t *testing.T) {
	for text, want := range map[string]Profile{"": LAN, "lan": LAN, "wan": WAN, "fast": Fast} {
		if got, err := ParseProfile(text); got != want || err != nil {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
	}
	if _, err := ParseProfile("LAN"); err == nil || !strings.Contains(err.Error(), `"LAN" is none of lan, wan, fast`) {
		t.Errorf("the error is %v", err)
	}
	if _, err := Start(Options{Member: upstreamMember(), Bind: loopback, Profile: "slow"}); err == nil {
		t.Error("a pool starts with a profile that there is not")
	}
}

func TestNoProfileKillsAnybodyForABadNetwork(t *testing.T) {
	const n = 8
	for name, c := range map[string]struct {
		profile Profile
		loss    float64       // of packets
		lag     time.Duration // of all that arrives, at most
	}{
		"lan, loss":  {LAN, 0.3, 0},
		"wan, loss":  {WAN, 0.3, 0},
		"fast, loss": {Fast, 0.3, 0},
		"lan, lag":   {LAN, 0, 200 * time.Millisecond},
		"wan, lag":   {WAN, 0, 800 * time.Millisecond},
		"fast, lag":  {Fast, 0, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 6)
				pools := w.pool(c.profile, n, []int{0})
				for _, a := range addrs(pools) {
					w.net.Loss(a, c.loss)
					w.net.Lag(a, c.lag)
				}
				w.within(30*time.Second, "all see each other", all(pools, fleet.Alive, n))
				time.Sleep(90 * time.Second)
				if deaths := w.book.grep("Marking", "as failed"); len(deaths) > 0 {
					t.Errorf("%d false deaths, the first: %s", len(deaths), deaths[0])
				}
				if !all(pools, fleet.Alive, n)() {
					t.Error("not all see each other in the end")
				}
				_ = pools[n-1].Close()
				w.within(time.Minute, "a real death is seen", all(pools[:n-1], fleet.Dead, 1))
			})
		})
	}
}
