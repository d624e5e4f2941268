package api

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// memberView is a member of the pool. What a member says of itself is missing
// where it said nothing that could be read.
type memberView struct {
	ID         uuid.UUID      `json:"id"`
	Role       fleet.Role     `json:"role,omitempty"`
	Liveness   fleet.Liveness `json:"liveness"`
	Since      time.Time      `json:"since"`
	Started    time.Time      `json:"started,omitzero"`
	Gossip     netip.AddrPort `json:"gossip"`
	Quarantine string         `json:"quarantine,omitempty"`

	Service   string       `json:"service,omitempty"`
	IPAddress netip.Addr   `json:"ip_address,omitzero"`
	Port      uint16       `json:"port,omitzero"`
	State     fleet.Health `json:"state,omitempty"`
	Tags      *tags        `json:"tags,omitzero"`
}

func viewMember(m *fleet.Member) memberView {
	v := memberView{
		ID: m.ID, Role: m.Role, Liveness: m.Liveness, Since: m.Since, Started: m.Started,
		Gossip: m.Gossip, Quarantine: m.Quarantine, Service: m.Service,
	}
	if e := m.Endpoint; e.Addr.IsValid() {
		v.IPAddress, v.Port, v.State, v.Tags = e.Addr.Addr(), e.Addr.Port(), e.Health, new(tagsOf(e))
	}
	return v
}

func (a *api) listMembers(w http.ResponseWriter, _ *http.Request) error {
	members := a.Registry.Snapshot().Members
	views := make([]memberView, 0, len(members))
	for _, m := range members {
		views = append(views, viewMember(m))
	}
	return answer(w, http.StatusOK, map[string]any{"members": views})
}
