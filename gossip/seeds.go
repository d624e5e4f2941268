package gossip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// lookupFunc finds all addresses of a host name.
type lookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// seed is a member's address as an operator wrote it.
type seed struct {
	text string
	host string         // a name to look up, or empty
	addr netip.AddrPort // without a host: the address; with one: only the port counts
}

func parseSeeds(texts []string) ([]seed, error) {
	seeds := make([]seed, 0, len(texts))
	for _, text := range texts {
		s, err := parseSeed(text)
		if err != nil {
			return nil, fmt.Errorf("seed %q: %w", text, err)
		}
		seeds = append(seeds, s)
	}
	return seeds, nil
}

// SeedAddr is the address that a seed names; false for a host name, which wants to
// be looked up.
func SeedAddr(text string) (netip.AddrPort, bool) {
	s, err := parseSeed(text)
	return s.addr, err == nil && s.host == ""
}

func parseSeed(text string) (seed, error) {
	host, port, err := splitSeed(text)
	if err != nil {
		return seed{}, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		addr := netip.AddrPortFrom(ip.Unmap(), port)
		return seed{text: text, addr: addr}, fleet.CheckAddr(addr)
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/:[]%") {
		return seed{}, fmt.Errorf("give host, host:port, ip, ip:port or [ip6]:port")
	}
	return seed{text: text, host: host, addr: netip.AddrPortFrom(netip.Addr{}, port)}, nil
}

// splitSeed parts a seed into host and port; without a port it is DefaultPort.
func splitSeed(text string) (string, uint16, error) {
	if _, err := netip.ParseAddr(text); err == nil || !strings.Contains(text, ":") {
		return text, DefaultPort, nil
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			return inner, DefaultPort, nil
		}
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("give host, host:port, ip, ip:port or [ip6]:port")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("port %q is not 1 to 65535", port)
	}
	return host, uint16(n), nil
}
