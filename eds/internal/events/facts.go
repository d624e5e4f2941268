package events

import (
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// sameMember leaves out what only says when or how something was learned.
func sameMember(a, b *fleet.Member) bool {
	return a.Equal(b) || memberFact("", a) == memberFact("", b) && a.Endpoint.Equal(&b.Endpoint)
}

func memberFact(change Change, m *fleet.Member) Member {
	return Member{
		Change: change, ID: m.ID, Role: m.Role, Service: m.Service, Address: m.Endpoint.Addr,
		Liveness: m.Liveness, State: m.Endpoint.Health, Quarantine: m.Quarantine,
	}
}

// sameHost leaves out what only a clock changes.
func sameHost(a, b *registry.Host) bool {
	return a.ID == b.ID && a.Source == b.Source && a.State == b.State && a.Served == b.Served && a.Held == b.Held &&
		idOf(a) == idOf(b) && a.Endpoint.Equal(&b.Endpoint)
}

// idOf names the override about an endpoint; "" for none.
func idOf(h *registry.Host) string {
	if h.Override == nil {
		return ""
	}
	return h.Override.Key.ID()
}

func hostFact(change Change, service string, h *registry.Host) Endpoint {
	return Endpoint{
		Change: change, Service: service, IPAddress: h.Addr.Addr(), Port: h.Addr.Port(), ID: h.ID,
		State: h.State, Served: h.Served && change != Removed, Held: h.Held && change != Removed, Weight: h.Weight, Override: idOf(h),
	}
}

func overrideFact(change Change, o *override.Override) Override {
	return Override{
		Change: change, ID: o.Key.ID(), Service: o.Service, Host: o.Host, Mode: o.Mode, State: o.State, Weight: o.Weight,
		Actor: o.Actor, Reason: o.Reason, Until: o.EndsAt(time.Now()),
	}
}
