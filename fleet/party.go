package fleet

import "net/netip"

// loopback stands for all loopback addresses.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Party groups the addresses that one machine can use at will, so that limits count them
// together: one IPv4 address, all IPv6 addresses with the same first 64 bits, or all
// loopback addresses.
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

// PartyOf is the Party of an address with its port, as connections have it. Addresses
// that cannot be parsed are one Party.
func PartyOf(address string) netip.Addr {
	addr, _ := netip.ParseAddrPort(address)
	return Party(addr.Addr())
}
