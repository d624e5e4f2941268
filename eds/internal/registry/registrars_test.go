package registry

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// b serves all the time, so that the guard and isolation have nothing to say.
func TestTwoRegistrarsOfOneEndpoint(t *testing.T) {
	for name, lines := range map[string]string{
		"the newer one drains and leaves": `
			2s a2 draining
			want served a b
			3s a2 left
			want served a b`,
		"the older one drains and leaves": `
			2s a draining
			want served a2 b
			3s a left
			want served a2 b`,
		"the newer one is killed": `
			4s a2 lost
			want served a b`,
		"gossip lost the older one, whose stream stands, and the newer one leaves": `
			2s a lost
			3s a2 draining
			4s a2 left
			want served a b`,
		"both drain": `
			2s a a2 draining
			want served b`,
		"both are unhealthy": `
			2s a a2 unhealthy
			want served b
			3s a healthy
			want served a b`,
		"the newer one changes its mind, which is no flapping of the endpoint": `
			2s a2 unhealthy
			want served a b
			3s a2 healthy
			want served a2 b
			4s a2 unhealthy
			want served a b
			5s a2 healthy
			want served a2 b
			6s a2 unhealthy
			want served a b
			7s a2 healthy
			want served a2 b`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "b join\nb good\na behalf\na good\n1s a2 behalf\na2 good\nwant served a2 b\n"+lines)
		})
	}
}

func TestProcessDecidesForItself(t *testing.T) {
	for name, lines := range map[string]string{
		"it drains": `
			2s a draining
			want served b`,
		"it is unhealthy": `
			2s a unhealthy
			want served b
			3s a healthy
			want served a b`,
		"its registrar drains": `
			2s a2 draining
			want served a b
			3s a2 left
			want served a b`,
		"it has left, and its registrar still answers for the address": `
			2s a draining
			3s a left
			want served a2 b`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "b join\nb good\na join\na good\n1s a2 behalf\na2 good\nwant served a b\n"+lines)
		})
	}
}

// Whatever members claim one address: where live processes registered themselves, the
// newest of them decides; else one healthy registrar is enough.
func TestOneHealthyRegistrarIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []*fleet.Member
		n := rapid.IntRange(1, 6).Draw(t, "members")
		ages := rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(t, "ages")
		for i := range n {
			members = append(members, upstream(1, func(m *fleet.Member) {
				m.ID, m.Started = uuid.UUID{15: byte(i + 1)}, epoch.Add(time.Duration(ages[i])*time.Second)
				m.Probe.OnBehalf = rapid.Bool().Draw(t, "on behalf")
				m.Endpoint.Health = rapid.SampledFrom([]fleet.Health{fleet.Healthy, fleet.Unhealthy, fleet.Draining}).Draw(t, "health")
				m.Liveness = rapid.SampledFrom([]fleet.Liveness{fleet.Alive, fleet.Alive, fleet.Dead, fleet.Left}).Draw(t, "liveness")
			}))
		}
		live := slices.DeleteFunc(slices.Clone(members), func(m *fleet.Member) bool { return m.Liveness != fleet.Alive })
		own := slices.DeleteFunc(slices.Clone(live), func(m *fleet.Member) bool { return m.Probe.OnBehalf })
		want := slices.ContainsFunc(live, func(m *fleet.Member) bool { return m.Endpoint.Health == fleet.Healthy })
		if len(own) > 0 {
			newest := slices.MaxFunc(own, func(a, b *fleet.Member) int { return a.Started.Compare(b.Started) })
			want = newest.Endpoint.Health == fleet.Healthy
		}
		svc, _ := decide(Input{Members: members}).Find("myservice")
		if got := len(svc.Served()) == 1; got != want {
			var claims []string
			for _, m := range members {
				claims = append(claims, strings.Join([]string{string(m.Liveness), string(m.Endpoint.Health)}, " "))
			}
			t.Errorf("served is %t, want %t, of %q", got, want, claims)
		}
	})
}

// b and c serve all the time. a has one registrar, which is killed.
func TestProgramOutlivesItsRegistrar(t *testing.T) {
	for name, lines := range map[string]string{
		"it stays for as long as it answers": `
			5m a answer
			want served a b c
			1h a forgotten
			want served a b c
			2h a dead
			want served b c`,
		"it dies, and something answers at its address": `
			5m a dead
			want served b c
			6m a answer
			want served b c`,
		"it is unhealthy, and something answers at its address": `
			5m a failing
			want served b c
			6m a answer
			want served b c`,
		"it is registered again": `
			3s a2 behalf
			3s a2 answer
			want served a2 b c`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "b c join\nb c good\na behalf\na answer\n2s a lost\nwant served a b c\n"+lines)
		})
	}
}

// b and c serve all the time. a's registrar was killed, and a2 is the next one: what it says
// of the program is later than what a said.
func TestProgramLeavesWithItsLatestRegistrar(t *testing.T) {
	for name, lines := range map[string]string{
		"it leaves": `
			4s a2 draining
			want served b c
			5s a2 left
			want served b c
			10m a answer
			want served b c`,
		"it is killed, too, and the program answers": `
			4s a2 lost
			want served a2 b c`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "b c join\nb c good\na behalf\na answer\n2s a lost\nwant served a b c\n3s a2 behalf\n3s a2 answer\nwant served a2 b c\n"+lines)
		})
	}
}

// b and c serve all the time. a is under a wrapper, which dies. A port that accepts does not
// show whose it is: it counts for a program that was not out of service in between.
func TestProgramOutlivesItsWrapper(t *testing.T) {
	for name, lines := range map[string]string{
		"the port accepts at once": `
			2s a alone
			4s a lost
			want served a b c
			30m a alone
			want served a b c
			1h a forgotten
			want served a b c
			2h a dead
			want served b c`,
		"the host is gone, and another program gets its address": `
			2s a silent
			4s a lost
			want served b c
			30m a alone
			want served b c`,
		"the network is broken until gossip finds the wrapper again": `
			2s a silent
			4s a lost
			want served b c
			5s a good
			want served a b c`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "b c join\nb c good\na behalf\na good\nwant served a b c\n"+lines)
		})
	}
}
