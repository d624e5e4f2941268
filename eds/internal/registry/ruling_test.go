package registry

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestOverrideForAHostComesFirst(t *testing.T) {
	for name, lines := range map[string]string{
		"drain takes it out, and back": `
			a b join
			drain a
			want served b
			want a healthy
			release a
			want served a b`,
		"exclude takes it out, and it stays listed": `
			a b join
			exclude a
			want served b
			want a healthy`,
		"force serves who says not to": `
			a b join
			a unhealthy
			b draining
			want served nobody
			force a b
			want served a b
			want a unhealthy
			release a b
			want served nobody`,
		"force serves who is proven dead": `
			a b join
			all good
			a dead
			want served b
			force a
			want served a b
			1s a lost
			1h a forgotten
			want served a b
			release a
			want served b`,
		"force serves one whose successor gossip lost before any probe reached it": `
			a a2 join
			a good
			force a
			1s a a2 lost
			want served a`,
		"force serves at once who would be damped": `
			a b join
			all good
			1s a dead
			2s a good
			3s a dead
			4s a good
			want a damped until 5s
			force a
			want served a b
			4.5s release a
			want served b
			want a damped until 5s
			5s
			want served a b`,
		"force is not held, and goes when nobody forces it": `
			a b join
			all good
			a dead
			force a
			want held nobody
			10s release a
			want served b
			want quiet`,
		"a forced host that was bad all the time has gone once": `
			a b join
			all good
			force a
			1s a dead
			2s b answer
			3s b answer
			4s release a
			want served b
			5s a good
			want served a b`,
		"exclude over a guard that holds": fleetOfTen + `
			1s a-f late
			2s a-f silent
			want held a-f
			exclude a
			want held b-f
			want served b-j`,
		"exclude in isolation": `
			a b join
			all good
			1s a b late
			2s a b silent
			want isolated on
			exclude a
			want served b`,
		"exclude over merge": `
			b join
			manual a
			exclude at a
			want served b`,
		"exclude over pin": `
			b join
			pin a c
			exclude at a
			want served c`,
		"force over pin": `
			b c join
			pin a
			force b
			want served a b`,
		"force over an empty pin": `
			b c join
			pin nobody
			force b
			want served b
			drain at b
			want served nobody`,
		"force over a pinned host that is dead": `
			probe a b
			a b good
			a dead
			want served b
			force at a
			want served a b`,
		"an override for the process counts for its address in a list": `
			a b join
			pin a b
			exclude a
			want served b
			release a
			want served a b`,
		"pin over merge over automatic still holds without overrides": `
			a b join
			manual c
			want served a b c
			pin c
			want served c
			unpin
			want served a b`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestOverrideNamesAProcessOrAnAddress(t *testing.T) {
	for name, lines := range map[string]string{
		"one for the process ends with it": `
			a b join
			exclude a
			want served b
			1s a2 join
			want served a2 b`,
		"one for the address is for whoever has it": `
			a b join
			exclude at a
			want served b
			1s a2 join
			want served b`,
		"one for an address that is not there waits": `
			b join
			exclude at a
			want served b
			want a unknown
			1s a join
			want served b`,
		"one for an address forces whoever comes": `
			b join
			force at a
			a join
			a unhealthy
			want served a b`,
		"the later of two counts": `
			a b join
			exclude at a
			1s force a
			want served a b
			2s drain at a
			want served b
			3s release at a
			want served a b`,
		"a process that has lost its address to another is not forced": `
			a b join
			force a
			1s a2 join
			1s a2 unhealthy
			want served b`,
		"one for a process that has no address any more keeps nobody out": `
			a b join
			exclude a
			1s a2 join
			want served a2 b`,
	} {
		t.Run(name, func(t *testing.T) { play(t, lines) })
	}
}

func TestWeightAndTagsAreReplacedWhereDecided(t *testing.T) {
	own := fleet.Endpoint{
		Weight: 10, Canary: true, Locality: fleet.Locality{Region: "r", Zone: "z"},
		Tags: map[string]string{"version": "v1", "stage": "prod"},
	}
	for name, tt := range map[string]struct {
		by   override.Override
		want fleet.Endpoint
	}{
		"nothing": {override.Override{}, own},
		"weight":  {override.Override{Weight: 5}, fleet.Endpoint{Weight: 5, Canary: true, Locality: own.Locality, Tags: own.Tags}},
		"az":      {override.Override{Tags: map[string]string{"az": "y"}}, fleet.Endpoint{Weight: 10, Canary: true, Locality: fleet.Locality{Region: "r", Zone: "y"}, Tags: own.Tags}},
		"region and canary": {
			override.Override{Tags: map[string]string{"region": "q", "canary": "false"}},
			fleet.Endpoint{Weight: 10, Locality: fleet.Locality{Region: "q", Zone: "z"}, Tags: own.Tags},
		},
		"further ones": {
			override.Override{Tags: map[string]string{"version": "v2", "new": "x"}},
			fleet.Endpoint{Weight: 10, Canary: true, Locality: own.Locality, Tags: map[string]string{"version": "v2", "stage": "prod", "new": "x"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := upstream(1, func(m *fleet.Member) {
				addr := m.Endpoint.Addr
				m.Endpoint, m.Endpoint.Addr, m.Endpoint.Health = own, addr, fleet.Healthy
			})
			tt.by.Key = override.Key{Service: m.Service, Host: m.ID.String()}
			tt.want.Addr, tt.want.Health = m.Endpoint.Addr, fleet.Healthy
			svc, _ := decide(Input{Members: []*fleet.Member{m}, Overrides: []override.Override{tt.by}}).Find(m.Service)
			if len(svc.Hosts) != 1 || !svc.Hosts[0].Served || !svc.Hosts[0].Equal(&tt.want) {
				t.Errorf("served %+v\nwant   %+v", svc.Hosts, tt.want)
			}
			if by := svc.Hosts[0].Override; by == nil || by.Key != tt.by.Key {
				t.Errorf("decided by %+v", by)
			}
		})
	}
}

func TestOverrideNeverMakesMoreTagsThanEnvoyIsGiven(t *testing.T) {
	own, decided := make(map[string]string), make(map[string]string)
	for i := range fleet.MaxTags {
		own["own"+string(rune('a'+i))], decided["decided"+string(rune('a'+i))] = "x", "y"
	}
	e := retag(fleet.Endpoint{Tags: own}, decided)
	if !maps.Equal(e.Tags, decided) {
		t.Errorf("tags are %v", e.Tags)
	}
}

func TestOverrideShownIsTheOneOfTheState(t *testing.T) {
	at := func(wall int64, o override.Override) *override.Override {
		o.Stamp.Wall = wall
		return &o
	}
	drain, weigh := at(1, override.Override{State: override.Drain, Weight: 7}), at(2, override.Override{Weight: 9})
	for name, r := range map[string]*ruling{"in order": newRuling(drain, weigh), "in the other": newRuling(weigh, drain)} {
		if r.by != drain || r.state != override.Drain || r.weight != 9 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestOverridesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		randomScript(t, defaults, everyVerb, func(s *script) {
			for _, svc := range s.snap.Services {
				for i, h := range svc.Hosts {
					second := i > 0 && svc.Hosts[i-1].Addr == h.Addr
					switch {
					case h.Override == nil:
					case h.Served && h.Override.State != override.Force && h.Override.State != "":
						t.Fatalf("%s is served\n%s", nameOf(h), s)
					case !h.Served && forced(h) && !second:
						t.Fatalf("%s is not served\n%s", nameOf(h), s)
					}
				}
			}
		})
	})
}

// What 10,000 overrides add to a change of one of 10,000 members.
func BenchmarkDecideWithOverrides(b *testing.B) {
	in := manyMembers(10_000, func(int) string { return "myservice" })
	for i := range in.Members {
		o := override.Override{Key: override.Key{Service: "myservice", Host: in.Members[i].ID.String()}, Stamp: override.Stamp{Wall: int64(i + 1)}, Weight: uint32(i%100 + 1)}
		if i%2 == 0 {
			o.Key.Host, o.Tags = in.Members[i].Endpoint.Addr.String(), map[string]string{"az": "z", "stage": "prod"}
		}
		in.Overrides = append(in.Overrides, o)
	}
	slices.SortFunc(in.Overrides, func(x, y override.Override) int { return x.Compare(y.Key) })
	one := func(in *Input, i int) {
		in.Overrides = slices.Clone(in.Overrides)
		o := &in.Overrides[i*7919%len(in.Overrides)]
		o.Stamp.Wall += 1 << 20
		o.Weight = o.Weight%100 + 1
	}
	for name, change := range map[string]func(*Input, int){"one member changes": oneWeight, "one override changes": one} {
		b.Run(name, func(b *testing.B) {
			r, in := New(defaults), in
			r.Decide(in)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				in.Now = in.Now.Add(time.Millisecond)
				change(&in, i)
				b.StartTimer()
				r.Decide(in)
			}
		})
	}
}
