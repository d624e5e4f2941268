package fleet

import "net/netip"

// Party names by an address whoever may have it at will: an IPv4 address is one party,
// and so are all that share the first 64 bits of an IPv6 address.
func Party(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() || !addr.IsValid() {
		return addr
	}
	p, _ := addr.Prefix(64) // of a valid address
	return p.Addr()
}
