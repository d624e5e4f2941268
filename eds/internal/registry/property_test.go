package registry

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The endpoints of random scripts: a to f, and second processes at two addresses.
var someHosts = []string{"a", "b", "c", "d", "e", "f", "a2", "b2"}

// randomScript plays random events, and the checks after each Decide.
func randomScript(t *rapid.T, opts Options, verbs []string, checks ...func(*script)) *script {
	s := newScript(t, opts)
	s.checks = checks
	s.decide()
	for _, name := range someHosts[:rapid.IntRange(1, len(someHosts)).Draw(t, "hosts")] {
		s.line([]string{name, "of", rapid.SampledFrom([]string{"s", "s", "s", "other"}).Draw(t, "service")})
	}
	for range rapid.IntRange(1, 40).Draw(t, "events") {
		s.line(randomLine(t, s, verbs))
	}
	return s
}

func randomLine(t *rapid.T, s *script, verbs []string) []string {
	wait := rapid.SampledFrom([]time.Duration{0, 0, 100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 31 * time.Second, 15 * time.Minute})
	line := []string{(s.in.Now.Sub(epoch) + wait.Draw(t, "wait")).String()}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(s.members))), 1, len(s.members), rapid.ID[string])
	switch verb := rapid.SampledFrom(verbs).Draw(t, "verb"); verb {
	case "nothing":
		return line
	case "confirm", "woke", "unpin":
		return append(line, verb)
	case "manual", "probe", "pin":
		return append(line, append([]string{verb}, rapid.SliceOfN(rapid.SampledFrom(someHosts[:6]), 0, 3).Draw(t, verb)...)...)
	case "drain", "exclude", "force", "release":
		if line = append(line, verb); rapid.Bool().Draw(t, "at") {
			line = append(line, "at")
		}
		return append(line, rapid.SliceOfN(rapid.SampledFrom(someHosts), 1, 3).Draw(t, verb)...)
	default:
		return append(append(line, some.Draw(t, "who")...), verb)
	}
}

var (
	factVerbs     = slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(gossipEvents)), slices.Collect(maps.Keys(probeEvents))...)))
	harmlessVerbs = []string{"nothing", "woke", "late", "late", "silent", "silent", "good", "good", "lost", "join", "forgotten", "untried"}
	everyVerb     = slices.Concat(factVerbs, harmlessVerbs, []string{"confirm", "manual", "probe", "pin", "unpin", "drain", "exclude", "force", "release"})
)

// claims returns the endpoints of all services that may be served, by service.
func (s *script) claims(svc Service) []*Host {
	var claims []*Host
	for i, h := range svc.Hosts {
		if (i == 0 || svc.Hosts[i-1].Addr != h.Addr) && (svc.Mode != override.Pin || h.Source == Manual || forced(h)) {
			claims = append(claims, h)
		}
	}
	return claims
}

func forced(h *Host) bool { return h.Override != nil && h.Override.State == override.Force }

func TestNoEndpointIsServedAgainstAProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		randomScript(t, defaults, everyVerb, func(s *script) {
			for _, svc := range s.snap.Services {
				claims := s.claims(svc)
				for _, h := range svc.Hosts {
					if h.Served && !slices.ContainsFunc(claims, func(c *Host) bool { return c.ID == h.ID && c.Addr == h.Addr }) {
						t.Fatalf("%s is served without a claim\n%s", nameOf(h), s)
					}
					if why := s.proof(h, claims); h.Served && why != "" && !forced(h) {
						t.Fatalf("%s is served though %s\n%s", nameOf(h), why, s)
					}
				}
			}
		})
	})
}

// proof says why a host must not be served, beside the claims to its service.
func (s *script) proof(h *Host, claims []*Host) string {
	if m := s.members[nameOf(h)]; h.Source == Gossip && m != nil {
		switch {
		case m.Liveness == fleet.Left, m.Endpoint.Health != fleet.Healthy:
			return "it says not to"
		case s.gone[nameOf(h)] && m.Liveness == fleet.Alive:
			return "it was never missed"
		}
	} else if !h.Probe {
		return ""
	}
	switch v := s.in.Evidence[probe.Key{ID: h.ID, Addr: h.Addr}].Verdict; v {
	case probe.Dead, probe.Failing, probe.Replaced:
		return "it is " + string(v)
	case probe.Hanging:
		if slices.ContainsFunc(claims, s.hears) {
			return "it hangs while another one answers"
		}
	}
	return ""
}

// hears reports whether an endpoint answers.
func (s *script) hears(h *Host) bool {
	e := s.in.Evidence[probe.Key{ID: h.ID, Addr: h.Addr}]
	return e.Tried && !e.Late && (h.State == StateHealthy || h.State == StateDamped) &&
		(h.Override == nil || h.Override.State != override.Drain && h.Override.State != override.Exclude)
}

// Who has gone is not brought back by an objection, unless it has only just gone, or
// answers.
func TestHeldEndpointsKeepTheirState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		until := make(map[probe.Key]time.Time) // when an endpoint was last in service
		before := &Snapshot{}
		randomScript(t, defaults, slices.Concat(factVerbs, harmlessVerbs), func(s *script) {
			for _, svc := range before.Services {
				for _, h := range svc.Hosts {
					key := probe.Key{ID: h.ID, Addr: h.Addr}
					if _, was := before.host(svc.Name, key); was {
						until[key] = s.in.Now
					}
				}
			}
			for _, svc := range s.snap.Services {
				for _, h := range svc.Hosts {
					last, ok := until[probe.Key{ID: h.ID, Addr: h.Addr}]
					if h.Held && h.State != StateContradicted && (!ok || s.in.Now.Sub(last) >= guardWindow) {
						t.Fatalf("%s is held, and was in service until %v\n%s", nameOf(h), last.Sub(epoch), s)
					}
				}
			}
			before = s.snap
		})
	})
}

// With the guard on, at most half of a service is out by silence of half a minute.
func TestSilenceRemovesNoMajority(t *testing.T) {
	endless := defaults
	endless.GuardHold = 1000 * time.Hour
	rapid.Check(t, func(t *rapid.T) {
		went := make(map[probe.Key]time.Time)
		before := &Snapshot{}
		randomScript(t, endless, slices.Concat(factVerbs, harmlessVerbs), func(s *script) {
			lately := went
			went = make(map[probe.Key]time.Time) // of those that are still mute
			for _, svc := range s.snap.Services {
				serving, gone, leaves := 0, 0, false
				for _, h := range s.claims(svc) {
					key := probe.Key{ID: h.ID, Addr: h.Addr}
					was, _ := before.host(svc.Name, key)
					switch h.State {
					case StateHealthy, StateDamped, StateContradicted:
						serving++
					case StateSilent, StateRefusing:
						went[key] = lately[key]
						if !h.Held && was.Served {
							went[key], leaves = s.in.Now, true
						}
						if !h.Held && s.in.Now.Sub(went[key]) < guardWindow {
							gone++
						}
					}
				}
				if all := serving + gone; leaves && all >= guardLeast && gone*2 > all {
					t.Fatalf("%d of %d have gone\n%s", gone, all, s)
				}
			}
			before = s.snap
		})
	})
}

// Damping holds back no more than half of the endpoints that could serve, and never all.
func TestDampingLeavesTheServiceEndpoints(t *testing.T) {
	verbs := []string{"dead", "good", "good", "dead", "failing", "nothing", "contradicted", "silent", "join", "draining", "drain", "release", "force"}
	rapid.Check(t, func(t *rapid.T) {
		randomScript(t, defaults, verbs, func(s *script) {
			for _, svc := range s.snap.Services {
				able, waiting := 0, 0
				for _, h := range s.claims(svc) {
					switch {
					case h.State == StateDamped && !h.Served:
						able, waiting = able+1, waiting+1
					case h.Served && (h.State == StateHealthy || h.State == StateContradicted):
						able++
					}
				}
				if waiting > 0 && (waiting*2 > able || waiting == able) {
					t.Fatalf("%d of %d endpoints wait\n%s", waiting, able, s)
				}
			}
		})
	})
}

// Other registries are fed the same: one in another order, one more often than
// it asked for.
func TestDecideDependsOnItsInputOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shuffled, eager := New(defaults), New(defaults)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var last Input
		randomScript(t, defaults, slices.DeleteFunc(slices.Clone(everyVerb), func(v string) bool { return v == "confirm" }), func(s *script) {
			for now := last.Now.Add(700 * time.Millisecond); !last.Now.IsZero() && now.Before(s.in.Now) && now.Before(last.Now.Add(time.Minute)); now = now.Add(700 * time.Millisecond) {
				in := last
				in.Now = now
				eager.Decide(in)
			}
			last = s.in
			last.Evidence = maps.Clone(s.in.Evidence)
			mixed := s.in
			mixed.Members, mixed.Overrides = slices.Clone(s.in.Members), slices.Clone(s.in.Overrides)
			random.Shuffle(len(mixed.Members), func(i, j int) { mixed.Members[i], mixed.Members[j] = mixed.Members[j], mixed.Members[i] })
			for i, o := range mixed.Overrides {
				mixed.Overrides[i].Hosts = slices.Clone(o.Hosts)
				slices.Reverse(mixed.Overrides[i].Hosts)
			}
			for name, r := range map[string]*Registry{"in another order": shuffled, "more often": eager} {
				in := mixed
				if r == eager {
					in = s.in
				}
				if snap, due := r.Decide(in); !reflect.DeepEqual(snap, s.snap) || !due.Equal(s.due) {
					t.Fatalf("told %s, it says\n%s\ninstead of\n%s", name, &script{snap: snap, due: due, in: s.in}, s)
				}
			}
		})
	})
}

// Due moments come to an end, and what is not needed any more is forgotten.
func TestEverythingIsForgottenEventually(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomScript(t, defaults, everyVerb)
		for n := 0; !s.due.IsZero(); n++ {
			if n == 30 {
				t.Fatalf("it still asks to be called, for %v\n%s", s.due.Sub(s.in.Now), s)
			}
			s.advance(s.due)
		}
		clear(s.gone)
		s.line([]string{"all", "left"})
		clear(s.members)
		clear(s.in.Evidence)
		s.mode = ""
		clear(s.made)
		s.decide()
		s.in.Now = s.in.Now.Add(3 * time.Minute)
		s.decide()
		if len(s.registry.memories) != 0 || len(s.snap.Services) != 0 || !s.due.IsZero() {
			t.Fatalf("memories %v, due %v\n%s", s.registry.memories, s.due, s)
		}
	})
}
