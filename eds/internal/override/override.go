// Package override has operators' overrides: which hosts of a service are
// served beside, or instead of, the ones that registered themselves, and how one
// host is served for a while. The model is plain values with a stamp each, of which
// the highest wins; the Store keeps them, and their audit, in a bbolt file and
// answers a write only once it is on disk.
package override

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Mode says how a manual list stands to the self-registered endpoints.
type Mode string

// The modes of a service. Auto is the absence of a list.
const (
	Auto  Mode = "auto"  // gossip alone
	Merge Mode = "merge" // the manual hosts beside the self-registered ones
	Pin   Mode = "pin"   // the manual hosts only
)

// State is an operator's rule for serving one host.
type State string

// The states of an override for a host. The empty one leaves it to gossip and probes.
const (
	Drain   State = "drain"   // no new requests, those in flight finish
	Exclude State = "exclude" // never served
	Force   State = "force"   // served whatever gossip and probes say
)

// The bounds of an override.
const (
	MaxHosts  = 10_000               // of one list
	MaxReason = 1000                 // bytes
	MaxFor    = 366 * 24 * time.Hour // from Since to Until, or For
)

// Key says what an override is about: a host of a service, or its list.
type Key struct {
	Service string
	Host    string `json:",omitempty"` // a member's uuid or an ip:port, both canonical; "" for the list
}

// Compare orders keys by service, then host.
func (k Key) Compare(other Key) int {
	if c := strings.Compare(k.Service, other.Service); c != 0 {
		return c
	}
	return strings.Compare(k.Host, other.Host)
}

// ID names the override about k in a URL: 16 hexadecimal digits, the same at every
// server.
func (k Key) ID() string {
	sum := sha256.Sum256([]byte(k.Service + "\x00" + k.Host))
	return FormatID(binary.BigEndian.Uint64(sum[:]))
}

// FormatID writes an id.
func FormatID(n uint64) string { return fmt.Sprintf("%016x", n) }

// ParseID reads what FormatID wrote.
func ParseID(id string) (uint64, error) {
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil || FormatID(n) != id {
		return 0, fmt.Errorf("id %.60q is not 16 hexadecimal digits", id)
	}
	return n, nil
}

// Name names k to a person.
func (k Key) Name() string {
	if k.Host == "" {
		return fmt.Sprintf("list of service %q", k.Service)
	}
	return fmt.Sprintf("host %s of service %q", k.Host, k.Service)
}

// Override is what an operator set for a service or a host. Values are immutable once
// they are in a Store: do not write to Hosts or Tags.
type Override struct {
	Key
	ID      string `json:"-"`          // Key.ID; filled in by the Store
	Stamp   Stamp  `json:",omitzero"`  // filled in by the Store
	Revoked bool   `json:",omitempty"` // a tombstone: the override was revoked

	// Of a list.
	Mode  Mode   `json:",omitempty"` // Merge or Pin
	Hosts []Host // sorted by address; may be empty with Pin

	// Of a host; at least one is set.
	State  State             `json:",omitempty"`
	Weight uint32            `json:",omitempty"` // 0: not set
	Tags   map[string]string `json:",omitempty"` // by the API's names: az, region, canary and further ones

	Actor  string    `json:",omitempty"`
	Reason string    `json:",omitempty"`
	Since  time.Time // when it was made, UTC; filled in by the Store when zero
	Until  time.Time `json:",omitzero"` // when it ends by itself, by the wall clock; zero for never

	// For is how long it lasts since it was made, if it was given a duration. Each
	// server measures that with its monotonic clock from when it heard of it. A server
	// that does not know For uses Until.
	For  time.Duration `json:",omitempty"`
	Left time.Duration `json:",omitempty"` // of For, when a message was sent; negative: over

	end time.Time // of For, by the monotonic clock; see begin
}

// Host is an endpoint as an operator lists it.
type Host struct {
	fleet.Endpoint
	Probe bool `json:",omitempty"` // probed like a member; otherwise served without a question
}

// Tag is the text of the strong ETag of o.
func (o Override) Tag() string { return o.Stamp.String() }

// InForce reports whether o applies at now.
func (o Override) InForce(now time.Time) bool {
	end := o.Until
	if !o.end.IsZero() {
		end = o.end
	}
	return !o.Revoked && (end.IsZero() || now.Before(end))
}

// The errors of a Store that callers distinguish.
var (
	ErrExists   = errors.New("a manual list already exists")
	ErrNotFound = errors.New("no override exists")
	ErrStale    = errors.New("the override was changed by another request")
	ErrFull     = errors.New("too many overrides")
	ErrTooLong  = errors.New("the override is too large")
)
