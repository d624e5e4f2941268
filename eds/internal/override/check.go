package override

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Check reports the first thing that is wrong with o; the field's path is in the
// message, as the API's callers know it.
func (o Override) Check() error {
	if err := fleet.CheckService(o.Service); err != nil {
		return err
	}
	if err := o.checkHost(); err != nil {
		return err
	}
	if err := o.checkWords(); err != nil {
		return err
	}
	switch {
	case o.Revoked:
		return nil
	case o.Host == "":
		return o.checkList()
	default:
		return o.checkOfHost()
	}
}

// checkHost lets one form of each host's name through, so that a host has one key.
func (o Override) checkHost() error {
	if o.Host == "" {
		return nil
	}
	if id, err := uuid.Parse(o.Host); err == nil && id.String() == o.Host {
		return nil
	}
	addr, err := netip.ParseAddrPort(o.Host)
	if err != nil || addr.String() != o.Host {
		return fmt.Errorf("host %.100q is neither a uuid nor an ip:port in its canonical form", o.Host)
	}
	return fleet.CheckAddr(addr)
}

// checkWords checks what every override may say.
func (o Override) checkWords() error {
	if err := fleet.CheckText("actor", o.Actor); err != nil {
		return err
	}
	switch {
	case len(o.Reason) > MaxReason:
		return fmt.Errorf("reason is %d bytes: want at most %d", len(o.Reason), MaxReason)
	case !utf8.ValidString(o.Reason) || strings.ContainsFunc(o.Reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("reason contains unprintable characters")
	case o.For < 0 || o.For > MaxFor || o.For > 0 && o.Until.IsZero():
		return fmt.Errorf("duration %s is invalid: want an end within %d days", o.For, MaxFor/(24*time.Hour))
	case o.Until.IsZero():
		return nil
	case !o.Until.After(o.Since):
		return errors.New("the override would end before it begins")
	case o.Until.Sub(o.Since) > MaxFor:
		return fmt.Errorf("the override would last %s: want at most %d days", o.Until.Sub(o.Since), MaxFor/(24*time.Hour))
	}
	return nil
}

func (o Override) checkList() error {
	if o.Mode != Merge && o.Mode != Pin {
		return fmt.Errorf("mode is %q: want merge or pin", o.Mode)
	}
	if o.State != "" || o.Weight != 0 || len(o.Tags) > 0 {
		return errors.New("state, load_balancing_weight and tags can be set for a host, not for a list")
	}
	if len(o.Hosts) > MaxHosts {
		return fmt.Errorf("hosts has %d entries: want at most %d", len(o.Hosts), MaxHosts)
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

func (o Override) checkOfHost() error {
	switch {
	case o.Mode != "" || len(o.Hosts) > 0:
		return errors.New("mode and hosts can be set for a list, not for a host")
	case o.State == "" && o.Weight == 0 && len(o.Tags) == 0:
		return errors.New("nothing is set: want state, load_balancing_weight or tags")
	}
	switch o.State {
	case "", Drain, Exclude, Force:
	default:
		return fmt.Errorf("state is %.100q: want drain, exclude or force", string(o.State))
	}
	if o.Weight != 0 {
		if err := fleet.CheckWeight(o.Weight); err != nil {
			return err
		}
	}
	return checkTags(o.Tags)
}

// maxEncoded is how long an override may be when it is sent to another server.
const maxEncoded = 3 << 20

func (o Override) checkSize() error {
	if len(o.Hosts) == 0 {
		return nil
	}
	b, err := Encode([]Override{o})
	if len(b) > maxEncoded {
		return fmt.Errorf("the list is %d bytes: want at most %d, use fewer or shorter tags: %w", len(b), maxEncoded, ErrTooLong)
	}
	return err
}

// checkTags knows the tags that the API shows of an endpoint's own fields.
func checkTags(tags map[string]string) error {
	further := make(map[string]string, len(tags))
	for name, value := range tags {
		switch name {
		case "az", "region":
			if err := fleet.CheckText("tag "+name, value); err != nil {
				return err
			}
		case "canary":
			if _, err := strconv.ParseBool(value); err != nil {
				return fmt.Errorf("tag canary is %.100q: want true or false", value)
			}
		default:
			further[name] = value
		}
	}
	return fleet.CheckTags(further)
}
