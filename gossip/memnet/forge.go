package memnet

import "encoding/binary"

// What memberlist 0.7.0 puts before a packet's content.
const (
	hasLabel = 244
	dead     = 5
)

// Death is the unencrypted packet by which a member called from tells the pool
// with this label that node is dead, as of an incarnation: what anybody can send
// who is no member at all.
func Death(label, node, from string, incarnation uint32) []byte {
	b := append([]byte{hasLabel, byte(len(label))}, label...)
	b = append(b, dead, 0x80|3) // a msgpack map of three
	b = binary.BigEndian.AppendUint32(append(text(b, "Incarnation"), 0xce), incarnation)
	b = text(text(b, "Node"), node)
	return text(text(b, "From"), from)
}

// text appends a msgpack string.
func text(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s)))
	return append(b, s...)
}
