// Package events reports what changes at an EDS server: it compares what was with
// what is, keeps the latest changes in a bounded ring, and hands them to readers,
// of which a slow one is disconnected and delays no other.
package events

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// Kind says what an Event is about.
type Kind string

// The kinds of events. After Reset nothing that a reader heard before counts: it
// asks for everything again.
const (
	KindMember   Kind = "member"
	KindEndpoint Kind = "endpoint"
	KindOverride Kind = "override"
	KindClient   Kind = "client"
	KindGuard    Kind = "guard"
	Reset        Kind = "reset"
)

// Change says what became of what an Event is about.
type Change string

// The changes.
const (
	Added   Change = "added"
	Changed Change = "changed"
	Removed Change = "removed"
	Expired Change = "expired" // of an override whose time was over
)

// Event is one change.
type Event struct {
	ID   string // of its place in the order of this server's events
	Kind Kind
	Data json.RawMessage // of the type named after Kind; an empty object with Reset
}

// Member is a process in the pool after the change, or before it left.
type Member struct {
	Change     Change         `json:"change"`
	ID         uuid.UUID      `json:"id"`
	Role       fleet.Role     `json:"role,omitempty"`
	Service    string         `json:"service,omitempty"`
	Address    netip.AddrPort `json:"address,omitzero"`
	Liveness   fleet.Liveness `json:"liveness"`
	State      fleet.Health   `json:"state,omitempty"`
	Quarantine string         `json:"quarantine,omitempty"`
}

// Endpoint is the state of an endpoint after the change, or before it left.
type Endpoint struct {
	Change    Change     `json:"change"`
	Service   string     `json:"service"`
	IPAddress netip.Addr `json:"ip_address"`
	Port      uint16     `json:"port"`
	ID        string     `json:"id,omitempty"` // the member's; "" for a manual host
	State     string     `json:"state"`
	Served    bool       `json:"served"`
	Held      bool       `json:"held,omitempty"`
	Weight    uint32     `json:"load_balancing_weight"`
	Override  string     `json:"override,omitempty"` // id of the override that counts
}

// Override is what an operator set.
type Override struct {
	Change  Change         `json:"change"`
	ID      string         `json:"id"`
	Service string         `json:"service"`
	Host    string         `json:"host,omitempty"`
	Mode    override.Mode  `json:"mode,omitempty"`
	State   override.State `json:"state,omitempty"`
	Weight  uint32         `json:"load_balancing_weight,omitempty"`
	Actor   string         `json:"actor,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Until   time.Time      `json:"until,omitzero"`
}

// Client is an xDS client: it came, went, or refused what it was sent.
type Client struct {
	Change    Change `json:"change"`
	Node      string `json:"node"`
	Transport string `json:"transport"`
	Peer      string `json:"peer"`
	Refused   string `json:"refused,omitempty"` // its reason, when it has just refused something
}

// Guard keeps a service whose endpoints mostly fell silent at once; without a service
// it says that this server hears no endpoint.
type Guard struct {
	Change  Change    `json:"change"`
	Service string    `json:"service,omitempty"`
	Held    int       `json:"held,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}
