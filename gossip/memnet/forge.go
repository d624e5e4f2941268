package memnet

import (
	"encoding/binary"
	"net/netip"
)

// What memberlist 0.7.0 puts before a packet's content.
const (
	hasLabel = 244
	alive    = 4
	dead     = 5
)

// Death is the unencrypted packet by which a member called from tells the pool
// with this label that node is dead, as of an incarnation: what anybody can send
// who is no member at all.
func Death(label, node, from string, incarnation uint32) []byte {
	b := packet(label, dead, 3)
	b = binary.BigEndian.AppendUint32(append(text(b, "Incarnation"), 0xce), incarnation)
	b = text(text(b, "Node"), node)
	return text(text(b, "From"), from)
}

// Alive is the unencrypted packet that tells the pool of a member at an IPv4 address.
func Alive(label, node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	b := packet(label, alive, 6)
	b = binary.BigEndian.AppendUint32(append(text(b, "Incarnation"), 0xce), incarnation)
	b = text(text(b, "Node"), node)
	b = text(text(b, "Addr"), string(at.Addr().AsSlice()))
	b = binary.BigEndian.AppendUint16(append(text(b, "Port"), 0xcd), at.Port())
	b = text(text(b, "Meta"), string(meta))
	return text(text(b, "Vsn"), "\x01\x05\x02\x00\x00\x00") // protocol 1 to 5, 2 spoken
}

// packet begins a packet whose content is a msgpack map of so many fields.
func packet(label string, kind byte, fields byte) []byte {
	b := append([]byte{hasLabel, byte(len(label))}, label...)
	return append(b, kind, 0x80|fields)
}

// text appends a msgpack string.
func text(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s)))
	return append(b, s...)
}
