package middleware

import (
	"net"
	"net/netip"
	"strings"
)

// hosts are the names at which an HTTP port is asked. A page on another name that
// was made to point here (DNS rebinding) is recognised by the Host that the
// browser sends.
type hosts struct {
	listen netip.Addr
	names  map[string]bool
}

func newHosts(listen netip.Addr, names []string) hosts {
	h := hosts{listen: listen.Unmap(), names: map[string]bool{"localhost": true}}
	for _, name := range names {
		h.names[normal(name)] = true
	}
	return h
}

// allows takes a Host header, with or without a port.
func (h hosts) allows(host string) bool {
	name := normal(hostOf(host))
	if h.names[name] || h.names["*"] {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	// A listener on every interface does not know its addresses; an IP address is
	// not a name that another site could own.
	return ip.IsLoopback() || ip == h.listen || h.listen.IsUnspecified()
}

func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
