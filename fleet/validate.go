package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of an endpoint's fields.
const (
	MaxServiceName = 200   // bytes
	MaxWeight      = 65535 // Envoy sums the weights of a locality in 32 bits
	DefaultWeight  = 1
	MaxTags        = 32
)

// CheckService reports why name cannot be the name of a service: it becomes an
// EDS resource name and one segment of a URL path.
func CheckService(name string) error {
	switch {
	case name == "":
		return errors.New("service name is empty")
	case len(name) > MaxServiceName:
		return fmt.Errorf("service name is %d bytes long, at most %d are allowed", len(name), MaxServiceName)
	case strings.Contains(name, "/"):
		return fmt.Errorf("service name %q contains a slash", name)
	case strings.Contains(name, " "):
		return fmt.Errorf("service name %q contains a space", name)
	case name == "." || name == "..":
		return fmt.Errorf("service name %q is a relative path", name)
	case name == "*":
		return errors.New(`service name "*" is xDS's wildcard`)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable):
		return fmt.Errorf("service name %q has unprintable characters", name)
	}
	return nil
}

// CheckAddr reports why addr cannot be given to Envoy as an endpoint.
func CheckAddr(addr netip.AddrPort) error {
	ip := addr.Addr()
	switch {
	case !ip.IsValid():
		return errors.New("address is not an IP address")
	case ip.IsUnspecified():
		return fmt.Errorf("address %s means every interface: want one that clients can reach", ip)
	case ip.IsMulticast():
		return fmt.Errorf("address %s is a multicast address", ip)
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("address %s is the broadcast address", ip)
	case ip.Zone() != "":
		return fmt.Errorf("address %s has a zone, which only this machine understands", ip)
	case ip.Is4In6():
		return fmt.Errorf("address %s is an IPv4 address in IPv6 form, write %s", ip, ip.Unmap())
	case addr.Port() == 0:
		return errors.New("port is 0: want 1 to 65535")
	}
	return nil
}

// CheckWeight reports why w cannot be a load balancing weight.
func CheckWeight(w uint32) error {
	if w < 1 || w > MaxWeight {
		return fmt.Errorf("weight is %d: want 1 to %d", w, MaxWeight)
	}
	return nil
}

// Check reports everything that is wrong with an endpoint, joined.
func (e Endpoint) Check() error {
	errs := []error{CheckAddr(e.Addr), CheckWeight(e.Weight), CheckText("region", e.Locality.Region), CheckText("az", e.Locality.Zone)}
	switch e.Health {
	case Healthy, Unhealthy, Draining:
	default:
		errs = append(errs, fmt.Errorf("state %q: want healthy, unhealthy or draining", e.Health))
	}
	return errors.Join(append(errs, CheckTags(e.Tags))...)
}

// reservedTags are metadata keys that rollcall sets from other fields.
var reservedTags = []string{"az", "region", "canary", "load_balancing_weight"}

// CheckTags reports why tags cannot become subset metadata.
func CheckTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%d tags, at most %d are allowed", len(tags), MaxTags)
	}
	for k, v := range tags {
		if k == "" {
			return errors.New("a tag has an empty name")
		}
		if slices.Contains(reservedTags, k) {
			return fmt.Errorf("tag %q is reserved: set it by its own option", k)
		}
		if err := errors.Join(CheckText("tag name", k), CheckText("tag "+k, v)); err != nil {
			return err
		}
	}
	return nil
}

// CheckText rejects text that is longer than MaxServiceName, or that a protobuf string, a log line or a terminal cannot
// represent.
func CheckText(what, s string) error {
	if len(s) > MaxServiceName {
		return fmt.Errorf("%s is %d bytes long, at most %d are allowed", what, len(s), MaxServiceName)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable) {
		return fmt.Errorf("%s %q has unprintable characters", what, s)
	}
	return nil
}

// unprintable reports control characters, and characters that break lines, change the writing
// direction or are invisible, with which one name could look like another.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }
