package model

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func options(n int) Options {
	c := memberlist.DefaultLANConfig()
	c.Label = "rollcall"
	return Options{Config: c, Members: n, Seed: 1}
}

func TestTheSameSeedGivesTheSameTimes(t *testing.T) {
	for name, f := range map[string]func(Options) Times{"change": Change, "join": Join, "crash": Crash} {
		a, b := options(50), options(50)
		if f(a) != f(b) {
			t.Errorf("%s: the same seed gives %v and %v", name, f(a), f(b))
		}
		if b.Seed++; f(a) == f(b) {
			t.Errorf("%s: another seed gives the same, %v", name, f(a))
		}
	}
}

func TestMoreKnowLater(t *testing.T) {
	for _, n := range []int{3, 10, 300} {
		for name, f := range map[string]func(Options) Times{"change": Change, "join": Join, "crash": Crash} {
			got := f(options(n))
			if got.Half > got.Most || got.Most > got.All || got.Observer > got.All || got.All <= 0 || got.All >= horizon {
				t.Errorf("%s in a pool of %d: %v", name, n, got)
			}
		}
	}
}

func TestACrashIsNotBelievedSoonerThanASuspicionTakes(t *testing.T) {
	o := options(100)
	least := o.Config.ProbeInterval + time.Duration(o.Config.SuspicionMult)*2*o.Config.ProbeInterval
	for range 20 {
		if got := Crash(o); got.Half < least {
			t.Errorf("half know after %s, the earliest is %s", got.Half, least)
		}
		o.Seed++
	}
}

func TestAWordThatIsSentTooSeldomWaitsForPushPull(t *testing.T) {
	o := options(1000)
	quiet := Median(o, 5, Change)
	o.WordSize, o.Words = 180, 10*Options{Config: o.Config, Members: 1000, WordSize: 180}.Room()
	if busy := Median(o, 5, Change); busy.All < 4*quiet.All {
		t.Errorf("all know after %s, and after %s when ten times as much is said as there is room for", quiet.All, busy.All)
	}
}

func TestRetransmissionsAndPushPullFollowMemberlist(t *testing.T) {
	for _, c := range []struct {
		members, sends int
		every          time.Duration
	}{{9, 4, 30 * time.Second}, {32, 8, 30 * time.Second}, {33, 8, 60 * time.Second}, {1000, 16, 180 * time.Second}} {
		o := options(c.members)
		if o.Sends() != c.sends || o.exchangeEvery() != c.every {
			t.Errorf("%d members: each word is sent %d times, a push/pull each %s, want %d and %s", c.members, o.Sends(), o.exchangeEvery(), c.sends, c.every)
		}
	}
}
