// Package override holds what operators decide: which hosts of a service are
// served beside, or instead of, the ones that registered themselves. The model is
// plain values; the Store keeps them in a bbolt file and answers a write only
// once it is on disk.
package override

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Mode says how a manual list stands to the self-registered endpoints.
type Mode string

// The modes of a service. Auto is the absence of an override.
const (
	Auto  Mode = "auto"  // gossip alone
	Merge Mode = "merge" // the manual hosts beside the self-registered ones
	Pin   Mode = "pin"   // the manual hosts and nobody else
)

// MaxHosts bounds one manual list.
const MaxHosts = 10_000

// Override is an operator's manual list for one service. Values are immutable
// once they are in a Store.
type Override struct {
	Service string
	Mode    Mode      // Merge or Pin
	Hosts   []Host    // sorted by address; may be empty with Pin
	Since   time.Time // when it was decided, UTC
}

// Host is an endpoint as an operator lists it.
type Host struct {
	fleet.Endpoint
	Probe bool `json:",omitempty"` // probed like a member; otherwise served without a question
}

// Check reports the first thing that is wrong with o; the field's path is in the
// message, as the API's callers know it.
func (o Override) Check() error {
	if err := fleet.CheckService(o.Service); err != nil {
		return err
	}
	if o.Mode != Merge && o.Mode != Pin {
		return fmt.Errorf("mode %q is neither merge nor pin", o.Mode)
	}
	if len(o.Hosts) > MaxHosts {
		return fmt.Errorf("hosts has %d entries, at most %d are allowed", len(o.Hosts), MaxHosts)
	}
	seen := make(map[netip.AddrPort]int, len(o.Hosts))
	for i, h := range o.Hosts {
		if err := h.Check(); err != nil {
			return fmt.Errorf("hosts[%d]: %w", i, err)
		}
		if j, dup := seen[h.Addr]; dup {
			return fmt.Errorf("hosts[%d]: address %s is already hosts[%d]", i, h.Addr, j)
		}
		seen[h.Addr] = i
	}
	return nil
}

// The errors of a Store that callers tell apart.
var (
	ErrExists   = errors.New("a manual list is there already")
	ErrNotFound = errors.New("nothing manual is there")
)
