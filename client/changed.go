package client

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Changed is what the data of any Event may say. Which fields are there depends on
// what it is about.
type Changed struct {
	Change  string `json:"change"` // added, changed, removed, or expired
	Service string `json:"service"`
	ID      string `json:"id"` // of a member, or of a decision
	State   string `json:"state"`

	// Of an endpoint.
	IPAddress netip.Addr `json:"ip_address"`
	Port      uint16     `json:"port"`
	Served    bool       `json:"served"`
	Held      bool       `json:"held"`
	Weight    uint32     `json:"load_balancing_weight"` // also of a decision

	// Of a decision.
	Host   string    `json:"host"`
	Mode   string    `json:"mode"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`

	// Of a member.
	Role       string `json:"role"`
	Address    string `json:"address"`
	Liveness   string `json:"liveness"`
	Quarantine string `json:"quarantine"`

	// Of an xDS client.
	Node      string `json:"node"`
	Transport string `json:"transport"`
	Peer      string `json:"peer"`
	Refused   string `json:"refused"`
}

// Addr is where an endpoint serves.
func (c Changed) Addr() netip.AddrPort { return netip.AddrPortFrom(c.IPAddress, c.Port) }

// Changed reads what e says.
func (e Event) Changed() (Changed, error) {
	var c Changed
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return c, fmt.Errorf("read the %s event: %w", e.Name, err)
	}
	return c, nil
}
