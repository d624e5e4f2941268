package registry

import "testing"

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
			want served a-d g-j
			69.9s              # since 65 s e and f are too long gone to count
			want held a-d
			70s
			want guard off
			want served g-j
			want quiet`,
		"with nobody to hold it stays off": six + `
			keep
			30s a-d good
			36s a-d late
			want guard off`,
		"who was out and came back counts anew": fleetOfTen + `
			1s a silent
			50s a good
			60s a-f late
			61s a-f silent
			want held a-f`,
		"members that nobody knows any more": six + `
			keep
			30s all forgotten
			want quiet
			31s all join
			want guard off
			want served g-j`,
		"what an operator's own host keeps out is held as it is": six + `
			3s manual a
			want held b-f
			7s unpin
			want held a-f`,
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
