package registry

import "testing"

func TestAddressHasOneClaim(t *testing.T) {
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
		"a forerunner whose clock was ahead, and whom only gossip misses": `
			a2 join
			1s a join          # it was there before
			want served a
			3s a lost
			want served a2`,
		"a forerunner that is known to be gone does not rank": `
			a2 join
			1s a join          # it was there before
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
		"who is superseded is gone, also if it was held": fleetOfTen + `
			1s a-f late
			2s a-f silent
			want held a-f
			3s a2 join
			want served a2 b-j
			4s a2 left
			want served b-j
			want held b-f`,
		"who was superseded was not in service": fleetOfTen + `
			1s a2 join
			1s b-g late
			2s b silent
			2s a2 left and a silent
			want held b`,
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
