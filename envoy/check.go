package envoy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// check reports everything that is wrong with options that have their defaults.
func (o Options) check() error {
	_, err := ParseAPI(string(o.API))
	return errors.Join(
		err,
		checkServers(o.EDS),
		checkServices(o.Services),
		o.TLS.check(),
		checkText("node id", o.NodeID),
		checkText("node cluster", o.NodeCluster),
		o.checkListeners(),
		between("refresh delay", o.RefreshDelay, MinRefreshDelay, time.Hour),
		between("connect timeout", o.ConnectTimeout, time.Millisecond, time.Minute),
		between("initial fetch timeout", o.InitialFetchTimeout, time.Millisecond, time.Hour),
	)
}

func checkServers(servers []string) error {
	seen := make(map[string]bool, len(servers))
	for _, s := range servers {
		if _, _, err := splitServer(s); err != nil {
			return err
		}
		if seen[strings.ToLower(s)] {
			return fmt.Errorf("eds server %q is given twice", s)
		}
		seen[strings.ToLower(s)] = true
	}
	return nil
}

// splitServer takes an EDS server's host:port apart.
func splitServer(s string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("eds server %q is not host:port", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("eds server %q: port must be 1 to 65535", s)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := fleet.CheckAddr(netip.AddrPortFrom(ip, uint16(n))); err != nil {
			return "", 0, fmt.Errorf("eds server %q: %w", s, err)
		}
	} else if name := strings.TrimSuffix(host, "."); !isHostName(name) || isNumber(name[strings.LastIndex(name, ".")+1:]) {
		return "", 0, fmt.Errorf("eds server %q: %q is neither an IP address nor a DNS name", s, host)
	}
	return host, uint16(n), nil
}

// checkServices wants names that EDS can carry. All but the first also select a
// virtual host, where case does not count and a * would match others.
func checkServices(services []string) error {
	seen := make(map[string]bool, len(services))
	for i, s := range services {
		if err := fleet.CheckService(s); err != nil {
			return err
		}
		if i > 0 && !isHostName(s) {
			return fmt.Errorf("service %q cannot be asked for as a Host: only the first one may hold more than letters, digits, dots, hyphens and underscores", s)
		}
		if i > 0 && (s == backendCluster || s == xdsCluster) {
			return fmt.Errorf("service %q has the name of a cluster that every bootstrap holds: give it as the first", s)
		}
		if seen[strings.ToLower(s)] {
			return fmt.Errorf("service %q is given twice", s)
		}
		seen[strings.ToLower(s)] = true
	}
	return nil
}

// isHostName allows underscores, which service names and internal DNS often have.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notHostChar) {
			return false
		}
	}
	return true
}

// isNumber tells a mistyped IP address from a name: no top-level domain is a number.
func isNumber(label string) bool {
	return !strings.ContainsFunc(label, func(r rune) bool { return r < '0' || r > '9' })
}

func notHostChar(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return !letter && !(r >= '0' && r <= '9') && r != '-' && r != '_'
}

func (o Options) checkListeners() error {
	for what, addr := range map[string]netip.AddrPort{"listener": o.Listener, "admin": o.Admin} {
		if !addr.IsValid() || addr.Addr().Zone() != "" {
			return fmt.Errorf("%s address %s is not ip:port", what, addr)
		}
	}
	if o.Listener == o.Admin && o.Admin.Port() != 0 {
		return fmt.Errorf("listener and admin are both %s", o.Admin)
	}
	return nil
}

func checkText(what, s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s %q has unprintable characters", what, s)
	}
	return nil
}

func between(what string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s is %s, give %s to %s", what, d, low, high)
	}
	return nil
}
