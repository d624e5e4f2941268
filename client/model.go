package client

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// The modes of a service.
const (
	ModeAuto  = "auto"  // gossip alone
	ModeMerge = "merge" // a manual list beside it
	ModePin   = "pin"   // the manual list alone
)

// State is what an operator decides about serving a host.
type State string

// The states of a decision.
const (
	Drain   State = "drain"   // no new requests, those in flight finish
	Exclude State = "exclude" // never served
	Force   State = "force"   // served whatever gossip and probes say
)

// Service is what is served under a name, and what is not and why.
type Service struct {
	Mode  string `json:"mode"`
	Guard *Guard `json:"guard,omitempty"` // while it holds
	Hosts []Host `json:"hosts"`           // sorted by address
}

// Guard is the refusal to believe that too many hosts died at once.
type Guard struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
	Held  int       `json:"held"`

	Contradicted int `json:"contradicted,omitzero"` // of Held: alive by a fresh answer
}

// Guards are all that hold at the server that answers.
type Guards struct {
	Isolated bool             `json:"isolated"` // no endpoint answers it
	Guards   map[string]Guard `json:"guards"`   // by service
}

// Host is one endpoint of a service.
type Host struct {
	IPAddress netip.Addr `json:"ip_address"`
	Port      uint16     `json:"port"`
	Tags      Tags       `json:"tags"`
	Probe     bool       `json:"probe,omitempty"`
	ID        string     `json:"id,omitempty"` // the member's uuid; "" for a manual host
	Source    string     `json:"source"`       // gossip or manual
	State     string     `json:"state"`        // what was seen of it
	Served    bool       `json:"served"`
	Held      bool       `json:"held,omitempty"` // served although it is silent
	Until     time.Time  `json:"until,omitzero"` // while damped
	Since     time.Time  `json:"since"`
	Acked     Acked      `json:"acked"`
	Override  *Override  `json:"override,omitempty"` // the decision for it that counts
}

// Addr is where h serves.
func (h Host) Addr() netip.AddrPort { return netip.AddrPortFrom(h.IPAddress, h.Port) }

// Decided is a host under one of its names, and what was decided under that name.
type Decided struct {
	Service  string    `json:"service"`
	Host     string    `json:"host"`               // a uuid or ip:port
	Override *Override `json:"override,omitempty"` // nil for nothing
	Endpoint *Host     `json:"endpoint,omitempty"` // nil while no endpoint has the address
}

// Acked is how many of a service's xDS clients have acknowledged what they were
// last told of a host.
type Acked struct {
	Have int `json:"have"`
	Of   int `json:"of"`
}

// ListedHost is a host of a manual list.
type ListedHost struct {
	IPAddress netip.Addr `json:"ip_address"`
	Port      uint16     `json:"port"`
	Tags      Tags       `json:"tags,omitzero"`
	Probe     bool       `json:"probe,omitempty"`
}

// Tags say where a host is and how it is to be used.
type Tags struct {
	AZ, Region string
	Canary     bool
	Weight     uint32            // load_balancing_weight; 0 when it is not said
	Further    map[string]string // every other name
}

// Override is a decision of an operator: about one host, or with Host empty about
// the list of a service.
type Override struct {
	ID      string         `json:"id"`
	Service string         `json:"service"`
	Host    string         `json:"host,omitempty"` // a uuid or ip:port
	Mode    string         `json:"mode,omitempty"` // of a list: merge or pin
	Hosts   []ListedHost   `json:"hosts,omitempty"`
	State   State          `json:"state,omitempty"`
	Weight  uint32         `json:"load_balancing_weight,omitempty"` // 0: not decided
	Tags    map[string]any `json:"tags,omitempty"`
	Actor   string         `json:"actor,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until,omitzero"` // zero: until it is taken back
}

// Entry is a line of the audit.
type Entry struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Action   string    `json:"action"` // created, changed, revoked, expired or overtaken; or of what is no decision: confirmed (a guard let go), key added, key used, key removed
	Override Override  `json:"override"`
	Before   *Override `json:"before,omitempty"`
	Key      string    `json:"key,omitempty"` // the fingerprint of the key that it is about
}

// Member is a process in the gossip pool.
type Member struct {
	ID         uuid.UUID      `json:"id"`
	Role       fleet.Role     `json:"role,omitempty"`
	Liveness   fleet.Liveness `json:"liveness"`
	Since      time.Time      `json:"since"`
	Started    time.Time      `json:"started,omitzero"`
	Gossip     netip.AddrPort `json:"gossip"`
	Quarantine string         `json:"quarantine,omitempty"` // why its metadata was refused
	Service    string         `json:"service,omitempty"`
	IPAddress  netip.Addr     `json:"ip_address,omitzero"`
	Port       uint16         `json:"port,omitempty"`
	State      fleet.Health   `json:"state,omitempty"`
	Tags       Tags           `json:"tags,omitzero"`
}

// Addr is where m serves; not valid when it serves nothing.
func (m Member) Addr() netip.AddrPort { return netip.AddrPortFrom(m.IPAddress, m.Port) }

// Follower is an xDS client: an Envoy that gets its endpoints here.
type Follower struct {
	Node      string     `json:"node"`
	Transport string     `json:"transport"`
	Peer      string     `json:"peer"`
	Connected time.Time  `json:"connected"`
	Seen      time.Time  `json:"seen"`
	Services  []Followed `json:"services"`
	NACK      *NACK      `json:"last_nack,omitempty"`

	CertExpired time.Time `json:"certificate_expired,omitzero"`
}

// Followed is a service that an xDS client follows.
type Followed struct {
	Name        string    `json:"name"`
	Sent        string    `json:"sent_version"`
	Acked       string    `json:"acked_version"`
	BehindSince time.Time `json:"behind_since,omitzero"`
}

// NACK is what an xDS client refused.
type NACK struct {
	Version string    `json:"version"`
	Detail  string    `json:"detail"`
	At      time.Time `json:"at"`
}

// UnmarshalJSON reads the object of the API, in which further tags stand beside
// those with a meaning.
func (t *Tags) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("tags: %w", err)
	}
	*t = Tags{}
	for name, raw := range all {
		into := any(nil)
		switch name {
		case "az":
			into = &t.AZ
		case "region":
			into = &t.Region
		case "canary":
			into = &t.Canary
		case "load_balancing_weight":
			into = &t.Weight
		}
		further := ""
		if into == nil {
			into = &further
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("tag %q: %w", name, err)
		}
		if into == any(&further) {
			if t.Further == nil {
				t.Further = make(map[string]string)
			}
			t.Further[name] = further
		}
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (t Tags) MarshalJSON() ([]byte, error) {
	all := map[string]any{"az": t.AZ, "canary": t.Canary}
	for name, value := range t.Further {
		all[name] = value
	}
	if t.Region != "" {
		all["region"] = t.Region
	}
	if t.Weight != 0 {
		all["load_balancing_weight"] = t.Weight
	}
	return json.Marshal(all)
}

// Keys are what the members of the pool say of their keys.
type Keys struct {
	Members  int          `json:"members"` // live ones
	Keys     []Key        `json:"keys"`
	Silent   []string     `json:"silent"` // members that did not answer
	Problems []KeyProblem `json:"problems"`
	Holders  []KeyHolder  `json:"holders"` // who has which
}

// KeyHolder is a member and its keys, the one that it encrypts with first.
type KeyHolder struct {
	Member string   `json:"member"`
	Keys   []string `json:"keys"`
}

// Key is one key, and how many members have it.
type Key struct {
	Fingerprint string `json:"fingerprint"`
	Members     int    `json:"members"` // that accept it
	Primary     int    `json:"primary"` // that encrypt with it
}

// KeyProblem is why a member did not do as it was asked, or not for good.
type KeyProblem struct {
	Member  string `json:"member"`
	Problem string `json:"problem"`
}
