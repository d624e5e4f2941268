package registry

import (
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/probe"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var gossipEvents = map[string]func(*fleet.Member){
	"join":      func(m *fleet.Member) { m.Liveness, m.Endpoint.Health = fleet.Alive, fleet.Healthy },
	"behalf":    func(m *fleet.Member) { m.Probe.OnBehalf = true },
	"draining":  func(m *fleet.Member) { m.Endpoint.Health = fleet.Draining },
	"healthy":   func(m *fleet.Member) { m.Endpoint.Health = fleet.Healthy },
	"unhealthy": func(m *fleet.Member) { m.Endpoint.Health = fleet.Unhealthy },
	"left":      func(m *fleet.Member) { m.Liveness = fleet.Left },
	"lost":      func(m *fleet.Member) { m.Liveness = fleet.Dead },
}

var probeEvents = map[string]func(*probe.Evidence){
	"good":         func(e *probe.Evidence) { *e = probe.Evidence{Verdict: probe.Good, Verified: true} },
	"answer":       func(e *probe.Evidence) { e.Verdict, e.Late = probe.Good, false },
	"alone":        func(e *probe.Evidence) { *e = probe.Evidence{Verdict: probe.Good, Alone: true} },
	"late":         func(e *probe.Evidence) { e.Late = true },
	"failing":      func(e *probe.Evidence) { e.Verdict, e.Late = probe.Failing, false },
	"silent":       func(e *probe.Evidence) { e.Verdict = probe.Silent },
	"hanging":      func(e *probe.Evidence) { e.Verdict, e.Late = probe.Hanging, false },
	"refused":      func(e *probe.Evidence) { e.Verdict, e.Late = probe.Refused, false },
	"dead":         func(e *probe.Evidence) { e.Verdict, e.Late = probe.Dead, false },
	"contradicted": func(e *probe.Evidence) { e.Verdict, e.Late = probe.Contradicted, false },
	"replaced":     func(e *probe.Evidence) { e.Verdict, e.Late = probe.Replaced, false },
	"unable":       func(e *probe.Evidence) { *e = probe.Evidence{Unable: true} },
}

func (s *script) event(words []string) {
	last := len(words) - 1
	verb := words[last]
	switch {
	case words[0] == "manual" || words[0] == "probe" || words[0] == "pin":
		s.operator(words[0], s.names(words[1:]))
	case states[words[0]] != nil:
		s.rule(*states[words[0]], words[1:])
	case verb == "unpin":
		s.mode = ""
		clear(s.manual)
	case verb == "confirm":
		s.registry.Confirm("s")
		s.twin.Confirm("s")
	case verb == "woke":
		s.in.Woke = s.in.Now
	case last > 0 && words[last-1] == "of":
		s.gossip(s.names(words[:last-1]), verb, gossipEvents["join"])
	case verb == "forgotten":
		for _, name := range s.names(words[:last]) {
			s.gone[name] = true
		}
	case gossipEvents[verb] != nil:
		s.gossip(s.names(words[:last]), "s", gossipEvents[verb])
	case verb == "untried":
		s.in.EvidenceRevision++
		for _, name := range s.names(words[:last]) {
			delete(s.in.Evidence, s.key(name))
		}
	case probeEvents[verb] != nil:
		s.probes(s.names(words[:last]), probeEvents[verb])
	default:
		s.t.Errorf("no such event: %q", words)
	}
}

func (s *script) operator(verb string, names []string) {
	s.mode = override.Merge
	if verb == "pin" {
		s.mode = override.Pin
		clear(s.manual)
	}
	for _, name := range names {
		s.manual[name] = override.Host{Probe: verb == "probe", Endpoint: fleet.Endpoint{Addr: addrOf(name), Weight: 1, Health: fleet.Healthy}}
	}
}

var states = map[string]*override.State{"drain": new(override.Drain), "exclude": new(override.Exclude), "force": new(override.Force), "release": new(override.State(""))}

// rule makes or takes back overrides for single endpoints.
func (s *script) rule(state override.State, words []string) {
	nameHost := func(name string) string { return idOf(name).String() }
	if words[0] == "at" {
		words, nameHost = words[1:], func(name string) string { return addrOf(name).String() }
	}
	for _, name := range s.names(words) {
		s.stamp++
		o := override.Override{Key: override.Key{Service: "s", Host: nameHost(name)}, Stamp: override.Stamp{Wall: s.stamp}, State: state, Since: s.in.Now}
		if s.made[o.Key] = o; state == "" {
			delete(s.made, o.Key)
		}
	}
}

func (s *script) gossip(names []string, service string, change func(*fleet.Member)) {
	for _, name := range names {
		m := s.members[name]
		if m == nil {
			m = upstream(name[0], func(m *fleet.Member) {
				m.ID, m.Service, m.Started, m.Endpoint.Addr = idOf(name), service, s.in.Now, addrOf(name)
			})
			s.members[name] = m
		}
		delete(s.gone, name)
		change(m)
		m.Since = s.in.Now
	}
}

func (s *script) probes(names []string, change func(*probe.Evidence)) {
	s.in.EvidenceRevision++
	for _, name := range names {
		e := s.in.Evidence[s.key(name)]
		was := e.Verdict
		change(&e)
		e.Tried = true
		if e.Verdict != was {
			e.Since = s.in.Now
		}
		s.in.Evidence[s.key(name)] = e
	}
}
