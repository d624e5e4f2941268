package registry

import "testing"

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
			want isolated off
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
			want held a b`,
		"gossip does not say that somebody is heard, where somebody is probed": `
			a-c join
			a good
			keep a-c
			1s a late
			2s b lost
			want isolated on
			want held b`,
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

func TestNoVerdictAfterAPause(t *testing.T) {
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

// Gossip's word of before a pause is not believed for a while afterwards. The guard must not
// begin to mind it meanwhile, or what is decided would depend on how often.
func TestGuardBeginsAfterAPauseOnceGossipIsBelieved(t *testing.T) {
	for name, pause := range map[string]string{"seldom": "", "often": "4s\n5s\n14s\n"} {
		t.Run(name, func(t *testing.T) {
			play(t, `
				a-f join
				c d lost
				woke
				a b e dead
				3s want guard off
				`+pause+`14.9s want served f
				want guard off
				15s want held c d
				want guard on
				614s want guard on
				615s want guard off
				want served f`)
		})
	}
}
