package registry

import "testing"

// Endpoints whose ports refuse while their processes answer a fresh challenge.
func TestContradictedEndpointsStayInService(t *testing.T) {
	for name, lines := range map[string]string{
		"one": `
			a-c join
			all good
			1s a contradicted
			want served a-c
			want held a
			want guard on
			want a contradicted
			want isolated off
			1h want served a-c
			2h a good
			want held nobody
			want guard off`,
		"all, for as long as they answer": fleetOfTen + `
			keep a-j
			1s all contradicted
			want held a-j
			want isolated off
			1h want held a-j
			want quiet`,
		"of a service of one": `
			a join
			a contradicted
			want served a
			want held a`,
		"they do not take part in the guard's majority": fleetOfTen + `
			1s a-e contradicted
			2s f g silent
			want served a-e h-j
			want held a-e`,
		"the guard minds the silence of others, and is shown until both are over": fleetOfTen + `
			1s a contradicted
			2s b-g silent
			want held a-g
			3s b-g good
			want held a
			9s want guard on
			10s a good
			want guard off`,
		"one that dies goes": `
			a-c join
			all good
			1s a contradicted
			2s a dead
			want served b c
			want guard off`,
		"all that die go": fleetOfTen + `
			1s all contradicted
			2s all dead
			want served nobody`,
		"one that falls silent is the guard's": `
			a-c join
			all good
			1s a contradicted
			2s a silent
			want served b c`,
		"an answer that comes late brings it back, and the removal does not count": `
			a-c join
			all good
			1s a dead
			want served b c
			1s a contradicted
			want served a-c
			2s a good
			3s a dead
			want served b c
			3s a contradicted
			want served a-c
			4s a dead
			5s a good
			want served a-c`,
		"one that another process supersedes takes no removal of that one back": `
			b join
			b good
			a join
			1s a2 join
			a a2 good
			2s a2 dead
			3s a2 good
			4s a2 dead
			5s a contradicted
			5s a2 good
			want a2 damped until 6s
			5.5s b good
			want a2 damped until 6s`,
		"claims to one address that take turns are no removals": `
			b join
			b good
			a a2 join
			a a2 contradicted
			a2 lost
			1s a2 answer
			a2 join
			want served a2 b`,
		"one removal of several is taken back": `
			a-c join
			all good
			1s a dead
			1s a good
			2s a dead
			3s a contradicted
			want served a-c
			4s a good
			want served a-c
			5s a dead
			6s a good
			want a damped until 7s`,
		"one that was silent before and answers now": `
			a-c join
			all good
			1s a silent
			want served b c
			1h a contradicted
			want served a-c`,
		"an operator knows better": fleetOfTen + `
			1s a b contradicted
			want held a b
			2s confirm
			2s a b contradicted
			want served c-j
			want guard off
			3s a good
			want served a c-j
			4s a contradicted
			want served a c-j`,
		"one that drains goes": `
			a-c join
			all good
			1s a contradicted
			2s a draining
			want served b c`,
		"one that says that it is unhealthy goes": `
			a-c join
			all good
			1s a contradicted
			2s a unhealthy
			want served b c`,
		"one that gossip has lost stays": `
			a-c join
			all good
			1s a contradicted
			2s a lost
			want served a-c
			want held a`,
		"a new process at its address takes its place": `
			a-c join
			all good
			1s a contradicted
			2s a2 join
			2s a2 good
			want served a2 b c`,
		"a paused server": `
			a-c join
			all good
			1s woke
			1s a contradicted
			want served a-c
			10s want held a`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

// Servers seem to hang where a firewall drops what one EDS server sends to their ports.
func TestAllThatHangStayInService(t *testing.T) {
	for name, lines := range map[string]string{
		"at once": fleetOfTen + `
			keep a-j
			1s all hanging
			want held a-j
			want a contradicted
			want guard on
			want isolated off
			1h want held a-j
			want quiet`,
		"one after the other": fleetOfTen + `
			keep a-j
			1s all late
			20s a-e hanging
			want held a-e
			21s f-j hanging
			want held a-j`,
		"those that went before the last one was late are back": `
			a-c join
			all good
			1s a b hanging
			want served c
			3s c hanging
			want held a-c`,
		"but not those that hung long before": `
			a-c join
			all good
			1s a hanging
			want served b c
			40s b c late
			42s b c hanging
			want held b c
			want a hanging`,
		"one that is slow for once brings none back": `
			a-c join
			all good
			1s a b hanging
			want served c
			2s c late
			want served c
			want held nobody`,
		"until one of them is heard": fleetOfTen + `
			1s all hanging
			1h a good
			want served a
			want b hanging
			want guard off
			2h all good
			want served a-j`,
		"of a service of one": `
			a join
			a good
			1s a hanging
			want held a`,
		"beside those that are proven dead": fleetOfTen + `
			1s a-e dead
			1s f-j late
			3s f-j hanging
			want held f-j`,
		"beside one that is not heard of yet": fleetOfTen + `
			1s b-j hanging and a left
			2s a2 join
			want served a2 b-j`,
		"not beside one that cannot be asked": fleetOfTen + `
			1s a-i late
			1s j unable
			3s a-i hanging
			want served j`,
		"one that dies goes": fleetOfTen + `
			1s all hanging
			2s a dead
			want held b-j`,
		"one that falls silent beside them is held, since nothing is heard": `
			a-c join
			all good
			1s all hanging
			2s a silent
			want held a-c
			want isolated on`,
		"an operator knows better": fleetOfTen + `
			1s all hanging
			2s confirm
			want served nobody
			want a hanging
			3s a late
			4s a hanging
			want served nobody
			5s a contradicted
			want served nobody
			6s a good
			want served a`,
		"one that an operator drained proves nothing": `
			a b join
			all good
			drain a
			1s b hanging
			want held b`,
		"one that drains goes": fleetOfTen + `
			1s all hanging
			2s a draining
			want held b-j`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}
