package registry

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

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
		"one that is forced and dead is no reason for the others to wait": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			force b and b dead
			4s a good
			want served a b
			want a healthy`,
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
		"all of a crash and a restart at once": `
			a b join
			all good
			1s a dead and a2 join
			want served a2 b
			2s a2 replaced and a3 join
			want a3 damped until 3s
			want served b`,
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
		"all of a service crash together and are back": `
			a-d join
			all good
			1s all dead
			1.1s all good
			want served a-d
			2s all dead
			2.1s all good
			want served a b
			3s all dead
			3.1s all good
			want served c d
			4s all dead
			4.1s a good
			want served a
			4.2s b good
			want served a
			4.3s c good
			want served a b
			5s d good
			want served a b`,
		"the only one of a service": `
			a join
			a good
			1s a dead
			1s a good
			2s a dead
			2s a good
			want served a
			3s a dead
			3s a good
			want served a`,
		"one that waits is served at once when the others go": `
			a b join
			all good
			1s a dead
			1s a good
			2s a dead
			2s a good
			want served b
			2.1s b dead
			want served a
			2.2s b good
			want served a b`,
		"one that waits is served at once when nothing is heard of the others": `
			a-d join
			all good
			1s a dead
			1s a good
			2s a dead
			2s a good
			want served b-d
			2.1s b-d silent
			want held b-d
			want served a-d`,
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
	var lines strings.Builder
	for at := period; at <= time.Duration(seconds)*time.Second; at += 2 * period {
		fmt.Fprintf(&lines, "%s a dead\n%s a good\n", at, at+period)
	}
	return lines.String()
}
