package registry

import "testing"

// What one endpoint's own facts amount to, one service of three so that the guard
// would mind.
func TestWhichEndpointsServe(t *testing.T) {
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
		"hanging passes, also many together, where another one is heard": fleetOfTen + `
			1s a-i late
			3s a-i hanging
			want served j
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
