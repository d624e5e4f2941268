package registry

import (
	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

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

// states are what operators decide for single hosts, by the words of a script.
var states = map[string]*override.State{"drain": new(override.Drain), "exclude": new(override.Exclude), "force": new(override.Force), "release": new(override.State(""))}

// rule makes or takes back decisions for single hosts.
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
