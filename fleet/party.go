package fleet

import "net/netip"

// loopback is this machine, at whichever of its addresses.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Party names by an address whoever may have it at will: an IPv4 address is one party,
// and so are all that share the first 64 bits of an IPv6 address, and all loopback
// addresses.
func Party(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() {
		return loopback
	}
	if addr.Is4() || !addr.IsValid() {
		return addr
	}
	p, _ := addr.Prefix(64) // of a valid address
	return p.Addr()
}

// PartyOf is the Party of an address with its port, as connections have it. All of those
// that cannot be read are one.
func PartyOf(address string) netip.Addr {
	addr, _ := netip.ParseAddrPort(address)
	return Party(addr.Addr())
}
