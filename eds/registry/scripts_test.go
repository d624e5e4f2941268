package registry

import (
	"testing"
	"time"
)

const fleetOfTen = "a-j join\nall good\n"

// What one host's own facts amount to, one service of three so that the guard
// would mind.
func TestWhoServesByTheFacts(t *testing.T) {
	for name, lines := range map[string]string{
		"a new member is served before it was probed": `
			a join
			want served a
			want a healthy
			a late
			want served a
			a good
			want served a`,
		"a proven death passes at once": `
			a-c join
			all good
			1s a dead
			want served b c
			want a dead
			2s a lost
			want a unknown
			want quiet`,
		"proven deaths pass all together": fleetOfTen + `
			1s a-h dead
			want served i j
			want guard off
			2s all dead
			want served nobody
			want guard off`,
		"graceful leaves pass all together": fleetOfTen + `
			1s all draining
			want served nobody
			want a draining
			2s all left
			want guard off
			want a unknown`,
		"one who drains is not held when its port closes": fleetOfTen + `
			1s all draining
			2s all silent
			want served nobody
			want held nobody`,
		"failing passes, also all together": fleetOfTen + `
			1s all failing
			want served nobody
			want guard off
			want a unhealthy
			2s a good
			want served a`,
		"hanging passes, also all together": fleetOfTen + `
			1s all hanging
			want served nobody
			want guard off
			want isolated off
			want a hanging`,
		"one who says that it is unhealthy is believed": fleetOfTen + `
			1s a-f unhealthy
			want served g-j
			want a unhealthy
			2s all healthy
			want served all`,
		"its own word counts more than silence": fleetOfTen + `
			1s a-f late
			2s a-f silent
			want held a-f
			3s a unhealthy
			want a unhealthy
			want held b-f`,
		"one whose port refuses while its gossip port is open is not served": fleetOfTen + `
			1s a refused
			want served b-j
			want a refusing
			want guard off
			2s a good
			want served all`,
		"silence of one takes it out": fleetOfTen + `
			1s a late
			want served all
			2.5s a silent
			want served b-j
			want a silent
			want isolated off
			60s a good
			want served all
			want quiet`,
		"gossip's word alone takes out whom no probe vouches for": fleetOfTen + `
			1s a untried
			1s a lost
			want served b-j
			want a unknown
			2s b untried
			2s b answer
			2s b lost
			want served c-j
			want b silent`,
		"a good answer with its uuid outranks gossip": fleetOfTen + `
			1s a-f lost
			want served all
			2s a late
			want served all
			4s a silent
			want served b-j`,
		"a lost member comes back with one good answer": fleetOfTen + `
			1s a late
			2s a silent
			4s a lost
			want served b-j
			want a silent
			100s a good
			want served all`,
		"a lost member does not come back with an answer of anybody": fleetOfTen + `
			1s a untried
			1s a answer
			1s a lost
			want served b-j
			20m a answer
			want served b-j
			21m a good
			want served all`,
		"a lost member that answers stays when gossip has forgotten it": `
			a b join
			all good
			1s a lost
			1h a forgotten
			want served a b
			2h a dead
			want served b
			want a unknown`,
		"a lost member that is silent is forgotten with gossip": `
			a b join
			all good
			1s a silent
			2s a lost
			want a silent
			1h a forgotten
			want a unknown`,
		"who stops and goes on is back at once": fleetOfTen + `
			1s a late
			2.5s a silent
			10s a good
			want served all`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestAnAddressHasOneClaim(t *testing.T) {
	for name, lines := range map[string]string{
		"a new process on the address of an old one": `
			a b join
			all good
			1s a dead
			want served b
			1s a2 join
			want served a2 b
			2s a2 good
			6s a lost
			want served a2 b
			want a unknown`,
		"the old one's late death does not remove the new one": `
			a b join
			1s a2 join
			want served a2 b
			9s a lost
			want served a2 b
			10m a forgotten
			want served a2 b`,
		"another process answers before gossip has said so": `
			a b join
			all good
			1s a replaced
			want served b
			want a unknown
			1.2s a2 join
			want served a2 b
			5s a lost
			want served a2 b`,
		"a clock that went back": `
			10s a join
			10s b join
			10s a good
			want served a b
			10s a dead
			want served b
			10s a lost
			want served b
			10s a2 join
			want served a2 b`,
		"a forerunner that is known to be gone does not rank": `
			a2 join        # clocks say that it is the older one
			1s a join
			want served a
			2s a replaced
			want served a2
			3s a lost
			want served a2`,
		"a restart after a graceful leave": `
			a b join
			all good
			1s a draining
			2s a left
			want served b
			2s a2 join
			want served a2 b`,
		"the manual claim wins": `
			a b join
			1s manual a
			want served a b
			2s a dead
			want served a b
			3s unpin
			want served b`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestGuard(t *testing.T) {
	six := fleetOfTen + `
		keep a-j
		1s a-c late
		1.2s d-f late
		2s a silent
		want guard on
		want held a
		2.1s b-d silent
		2.3s e f silent
		want held a-f
		want served all
	`
	for name, lines := range map[string]string{
		"six of ten are held, and nobody leaves on the way": six,
		"five of ten go": fleetOfTen + `
			1s a-e late
			2s a-e silent
			want guard off
			want served f-j
			want quiet`,
		"six of ten within half a minute are held, also those that went first": fleetOfTen + `
			1s a-e silent
			want served f-j
			29s f silent
			want guard on
			want held a-f
			want served all`,
		"who went before that stays out": fleetOfTen + `
			1s a-e silent
			32s f-h silent
			want guard on
			want held f-h
			want served f-j`,
		"who was out of service before it fell silent stays out": fleetOfTen + `
			0s a failing
			0s b dead
			0s c unhealthy
			0s d draining
			1s all late
			2s all silent
			want held e-j
			want served e-j
			3s e dead
			want served f-j
			4s e silent
			want held f-j`,
		"under three endpoints there is no guard": `
			a b of s
			c of other
			all good
			1s a silent
			want guard off
			want served b c
			2s b silent
			want guard off
			want served c`,
		"of three endpoints two are held": `
			a-c of s
			d of other
			all good
			1s a b late
			2s a silent
			want guard on
			2s b silent
			want held a b
			want served a-d
			3s c dead          # now two are left, still held
			want held a b
			100s
			want held a b`,
		"it lets go when they are back": six + `
			30s a-e good
			want guard on
			31s f good
			want guard off
			want served all
			want quiet`,
		"it lets go of the rest when most are back": six + `
			keep
			30s a-d good
			want guard on
			want held e f
			34.9s
			want held e f
			35s
			want guard off
			want served a-d g-j
			want quiet
			36s e good
			want served a-e g-j`,
		"who is let go is not held again before it was heard": six + `
			keep
			30s a-d good
			36s
			want served a-d g-j
			50s a-b silent     # e, f, a, b of ten
			want served c d g-j
			52s c d silent
			want guard on
			want held a-d
			want served a-d g-j`,
		"a majority again makes it wait": six + `
			30s a-d good
			34s a-d silent
			36s
			want held a-f
			200s
			want held a-f`,
		"they go as they are proven dead one by one": six + `
			keep
			30s a dead
			want served b-j
			want guard on
			31s b dead
			want served c-j
			want held c-f     # 4 of 8: no majority
			36s
			want guard off
			want served g-j`,
		"they go when all are proven dead": six + `
			keep
			30s a-f dead
			want served g-j
			want guard off
			want quiet`,
		"they go when an operator confirms it": six + `
			keep
			30s confirm
			want guard off
			want served g-j
			want quiet
			31s g silent       # what is known to be dead is no silence
			want served h-j
			40s a good
			want served a h-j`,
		"it holds ten minutes at most": six + `
			601.9s
			want guard on
			keep
			602s
			want guard off
			want served g-j
			want quiet
			603s g silent
			want guard off
			want served h-j`,
		"a trickle is not held": fleetOfTen + `
			40s a silent
			80s b silent
			120s c silent
			160s d silent
			200s e silent
			240s f silent
			280s g silent
			want guard off
			want served h-j`,
		"refusals that gossip contradicts are held, if there are too many": fleetOfTen + `
			1s a-e refused
			want served f-j
			1.1s f refused
			want guard on
			want held a-f
			want served all
			2s a-f dead
			want served g-j
			want guard off`,
		"half of them are not": fleetOfTen + `
			1s a-e refused
			want guard off
			want served f-j`,
		"deaths of those without a witness are not": fleetOfTen + `
			1s all dead
			want guard off
			want served nobody`,
		"silence and contradiction count together": fleetOfTen + `
			1s a-c refused
			2s d-f silent
			want held a-f`,
		"gossip's word alone is guarded too": `
			a-j join
			1s a-e lost
			want served f-j
			2s f lost
			want guard on
			want served all
			want held a-f
			3s all join
			want guard off`,
		"a manual host that is not probed counts as one that serves": fleetOfTen + `
			manual k-n
			1s a-g silent
			want guard off
			want served h-n
			2s h silent
			want guard on
			want served a-n`,
		"what a pin keeps out is held as it is, and judged after it": six + `
			keep
			3s pin k
			want guard off
			want served k
			4s g silent
			300s unpin
			want held a-g
			want served all`,
		"a member that is forgotten while it is held": six + `
			30s a lost
			40s a forgotten
			want held a-f`,
		"lateness alone takes nobody out and alarms nobody": fleetOfTen + `
			keep a-j
			1s a-i late
			want guard off
			5s all answer
			want quiet`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestGuardOfZeroIsOff(t *testing.T) {
	play(t, fleetOfTen+`
		1s a-h late
		2s a-h silent
		want guard off
		want served i j
		want quiet`, func(o *Options) { o.Guard = 0 })
}

func TestGuardOfAnotherShare(t *testing.T) {
	play(t, fleetOfTen+`
		1s a b silent
		want guard off
		2s c silent
		want guard on
		want held a-c`, func(o *Options) { o.Guard = 0.2 })
}

func TestIsolation(t *testing.T) {
	cut := `
		a-j of s
		x y of pair
		z of single
		all good
		keep a-j x-z
		1s a-j late
		1s x y z late
		want isolated off
		2s a z silent
		want isolated on
		2.1s x silent
		2.2s all silent
		want held all
	`
	for name, lines := range map[string]string{
		"nobody heard at all: all is held, also where there is no guard": cut + "want quiet",
		"beyond what the guard would hold": cut + `
			9m all lost
			30m
			want held all
			want isolated on
			want quiet`,
		"and beyond what gossip remembers": cut + `
			30s all lost
			1h all forgotten
			5h
			want held all
			want isolated on`,
		"at healing nobody leaves while the probes come back": cut + `
			30s all lost
			60s g good
			want isolated off
			60.5s z good
			61s a-f good
			62s h i x y good
			62.1s j good
			want held nobody
			want served all
			want guard off
			90s
			want served all
			want quiet`,
		"nor while gossip finds those again that no probe vouches for": `
			a b c of s
			z of single
			all good
			a b z untried
			a z answer
			keep a b c z
			1s a c z late
			2s c silent
			2s a z silent
			want isolated on
			30s all lost
			60s c good
			60.5s a z answer
			want isolated off
			want held a b z
			74s all join
			want held nobody
			90s
			want served all
			want quiet`,
		"and who is not found again goes": `
			a of s
			z of single
			all good
			a untried
			keep a z
			1s z late
			2s z silent
			30s a lost
			60s z good
			74.9s
			keep z
			75s
			want served z`,
		"who stays silent after it goes": cut + `
			60s a-j good
			62.9s
			want held x-z
			keep a-j
			63s
			want served a-j
			want quiet`,
		"unless there are too many": cut + `
			60s g x-z good
			62.9s
			want guard off
			63s
			want guard on
			want held a-f h-j
			600s
			want guard on
			662.9s
			want guard on
			keep
			663s
			want served g x-z`,
		"a guard that was on does not end in it": `
			a-j of s
			z of single
			all good
			1s a-f late
			2s a-f silent
			want guard on
			3s g-j z late
			4s g-j z silent
			want isolated on
			keep a-j z
			30m
			want guard on
			want quiet
			30m z good
			1803s
			want guard on
			40m
			want held a-j`,
		"who was dead before stays out": cut + `
			60s all good
			keep
			61s a dead
			61s b failing
			62s a lost
			64s all late
			keep c-j x-z
			66s all silent
			want isolated on
			want served c-j x-z
			want quiet`,
		"who was silent long before stays out": cut + `
			60s all good
			keep
			61s a silent
			70s
			want served b-j x-z
			100s b-j late
			100s x-z late
			keep b-j x-z
			101s all silent
			want isolated on
			want served b-j x-z`,
		"leaves and deaths pass in it": cut + `
			keep b-j x y
			10s z draining
			want z draining
			11s a dead
			want served b-j x y
			want isolated off`, // a refusal is an answer
		"a hanging server does not say that somebody is heard": `
			a of s
			b of other
			all good
			1s a late
			2s a hanging
			3s b late
			4s b silent
			want isolated on
			want served b`,
		"an operator may confirm it": cut + `
			keep x-z
			60s confirm
			want served x-z
			want isolated on`,
		"a fleet without probes: the last one gossip loses": `
			a of s
			b c of other
			keep a-c
			want isolated off
			1s keep b c
			2s a lost
			want served b c
			keep
			3s b lost
			want served c
			4s c lost
			want isolated on
			want served a-c
			2h
			want served a-c
			2h d join
			want isolated off
			want served a-d
			7215s
			want served d`,
		"the only endpoint of all": `
			a join
			a good
			keep a
			1s a late
			want isolated off
			2s a silent
			want isolated on
			5m a good
			want isolated off
			want served a`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestAJudgeThatSleptJudgesNobody(t *testing.T) {
	for name, lines := range map[string]string{
		"silence takes nobody out for a round": fleetOfTen + `
			keep a-j
			1s woke
			1.1s a silent
			want held a
			want guard off
			3.9s
			want served all
			keep
			4s
			want served b-j
			want quiet`,
		"an answer within it settles it": fleetOfTen + `
			keep a-j
			1s woke
			1.1s a-f silent
			2s all good
			20s
			want served all
			want quiet`,
		"what was proven passes": fleetOfTen + `
			1s woke
			1.1s a dead
			1.2s b failing
			1.3s c left
			want served d-j`,
		"who was out stays out": fleetOfTen + `
			1s a silent
			2s woke
			want served b-j
			3s
			want served b-j`,
		"gossip's word counts only later": `
			a b of s
			keep a b
			1s woke
			2s a lost
			5s
			want held a
			15.9s
			want served a b
			keep b
			16s
			want served b
			want quiet`,
		"the guard does not let go meanwhile": fleetOfTen + `
			1s a-f late
			keep a-j
			2s a-f silent
			3s a-d good
			7s woke
			10s
			want held e f
			14.9s
			want held e f
			keep
			15s
			want served a-d g-j`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestDamping(t *testing.T) {
	for name, lines := range map[string]string{
		"the first removal costs nothing, the second one second, then twice as long": `
			a b join
			all good
			1s a dead
			2s a good
			want served a b
			3s a dead
			4s a good
			want a damped until 5s
			want served b
			5s
			want served a b
			want a healthy
			6s a dead
			7s a good
			want a damped until 9s
			9s a failing
			10s a good
			want a damped until 14s
			14s a silent
			15s a good
			want a damped until 23s
			23s a unhealthy
			24s a healthy
			want a damped until 40s
			40s a dead
			41s a good
			want a damped until 73s
			73s a dead
			74s a good
			want a damped until 134s
			134s a dead
			135s a good
			want a damped until 195s
			195s
			want served a b
			want quiet`,
		"it has to be good for as long as it waits": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			4.5s a dead
			8s a good
			want a damped until 9s
			8.9s
			want served b
			9s
			want served a b`,
		"a minute without a removal, beyond the wait, and it is forgotten": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			5s
			want served a b
			63.9s a dead      # 60.9 s after the last
			64s a good
			want a damped until 66s
			66s
			128s a dead       # 64.1 s after, of which 2 s were waited
			129s a good
			want served a b`,
		"forgotten while it was away": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			63.5s a good
			want a damped until 64s
			64s
			want served a b`,
		"graceful restarts do not count, and pay for nothing twice": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			5s
			want served a b
			6s a draining
			7s a left
			7s a2 join
			want served a2 b
			8s a2 draining
			8s a2 left
			9s a3 join
			want served a3 b
			10s a3 dead
			11s a4 join
			want a4 damped until 13s`,
		"processes that crash on one address are damped together": `
			a b join
			all good
			1s a dead
			1s a2 join
			want served a2 b
			2s a2 dead
			2.5s a3 join
			want a3 damped until 3.5s
			3s a lost
			want served b
			3.5s
			want served a3 b
			4s a3 replaced     # killed, and the next one was quick
			4s a4 join
			want a4 damped until 6s`,
		"an old death is counted once": `
			a b join
			all good
			1s a dead
			1s a2 join
			2s a lost
			3s a2 good
			4s a2 failing
			5s a2 good
			want a2 damped until 6s`,
		"what a damped host does is no removal": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			4.5s a dead
			4.6s a good
			4.7s a dead
			5s a good
			want a damped until 6s`,
		"who is held has not been removed": fleetOfTen + `
			1s a-f late
			2s a-f silent
			3s all good
			4s a-f late
			5s a-f silent
			6s all good
			7s a-f late
			8s a-f silent
			9s all good
			want served all`,
		"an operator's word is not damped": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			want served b
			4s manual a
			want served a b`,
		"a pin is no removal": `
			a b join
			all good
			1s pin b
			2s unpin
			3s pin b
			4s unpin
			want served a b`,
		"a host flapping each second": `
			a b join
			all good
			` + flapping(60, time.Second) + `
			want changes a <= 12`,
		"a host flapping each second with a new process": `
			a b join
			all good
			` + flapping(60, 500*time.Millisecond) + `
			want changes a <= 12`,
		"a host that waits as long as it must, and dies": `
			a b join
			all good
			1s a dead
			1s a good
			2s a dead
			2s a good
			3s a dead
			3s a good
			5s a dead
			5s a good
			9s a dead
			9s a good
			17s a dead
			17s a good
			33s a dead
			33s a good
			60s
			want changes a <= 14   # joining counted
			want served b`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

// flapping makes a die and come back by turns, each period, for some seconds.
func flapping(seconds int, period time.Duration) string {
	lines := ""
	for at := period; at <= time.Duration(seconds)*time.Second; at += 2 * period {
		lines += at.String() + " a dead\n" + (at + period).String() + " a good\n"
	}
	return lines
}

func TestManualHostsThatAreProbed(t *testing.T) {
	for name, lines := range map[string]string{
		"are served before they were probed": `
			probe a
			want served a
			want a healthy`,
		"go when they are proven dead, or fail": `
			probe a-c
			a-c good
			1s a dead
			2s b failing
			want served c
			want a dead
			want b unhealthy
			3s a b good
			want served a-c`,
		"are held by the guard": `
			probe a-d
			a-d good
			1s a-c late
			keep a-d
			2s a-c silent
			want guard on
			want held a-c`,
		"are held in isolation": `
			probe a
			a good
			1s a late
			keep a
			2s a silent
			want isolated on
			1h
			want held a`,
		"are damped": `
			probe a b
			a b good
			1s a dead
			2s a good
			3s a dead
			4s a good
			want a damped until 5s`,
		"say nothing of those at the same address that are not": `
			manual a
			a dead
			want served a`,
		"also under a pin": `
			c join
			c good
			pin
			probe a b
			1s a b good
			2s a dead
			want served b c`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}
