package memnet

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// What memberlist 0.7.0 puts before a packet's content, and before a stream's.
const (
	hasLabel  = 244
	alive     = 4
	dead      = 5
	pushPull  = 6
	encrypted = 10

	fields = 0x80 // begins a msgpack map, with how many they are
)

// Death is the unencrypted packet by which a member called from tells the pool
// with this label that node is dead, as of an incarnation: what anybody can send
// who is no member at all.
func Death(label, node, from string, incarnation uint32) []byte {
	b := append(labelled(label), dead, fields|3)
	b = binary.BigEndian.AppendUint32(append(text(b, "Incarnation"), 0xce), incarnation)
	b = text(text(b, "Node"), node)
	return text(text(b, "From"), from)
}

// Alive is the unencrypted packet that tells the pool of a member at an IPv4 address.
func Alive(label, node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	return slices.Concat(labelled(label), []byte{alive}, state("Node", node, at, incarnation, meta))
}

// Sealed is a packet as a holder of the pool's key sends it.
func Sealed(label string, key, packet []byte) ([]byte, error) {
	head := labelled(label)
	return seal(head, key, packet[len(head):], []byte(label))
}

// PushPull is the stream by which a holder of the pool's key joins it and tells
// of the members that are listed by Listed.
func PushPull(label string, key []byte, listed ...[]byte) ([]byte, error) {
	b := []byte{pushPull, fields | 3}
	b = binary.BigEndian.AppendUint32(append(text(b, "Nodes"), 0xce), uint32(len(listed)))
	b = append(text(b, "UserStateLen"), 0)
	b = append(text(b, "Join"), 0xc3) // true
	b = append(b, slices.Concat(listed...)...)
	const overhead = 1 + 12 + 16 // of seal
	head := binary.BigEndian.AppendUint32([]byte{encrypted}, uint32(len(b)+overhead))
	return seal(append(labelled(label), head...), key, b, append(head, label...))
}

// Listed is a live member at an IPv4 address, for PushPull.
func Listed(node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	return state("Name", node, at, incarnation, meta)
}

// state is a member, as a map whose field called name has its name.
func state(name, node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	b := binary.BigEndian.AppendUint32(append(text([]byte{fields | 6}, "Incarnation"), 0xce), incarnation)
	b = text(text(b, name), node)
	b = text(text(b, "Addr"), string(at.Addr().AsSlice()))
	b = binary.BigEndian.AppendUint16(append(text(b, "Port"), 0xcd), at.Port())
	b = text(text(b, "Meta"), string(meta))
	return text(text(b, "Vsn"), "\x01\x05\x02\x00\x00\x00") // protocol 1 to 5, 2 spoken
}

// labelled begins a packet or a stream.
func labelled(label string) []byte {
	return append([]byte{hasLabel, byte(len(label))}, label...)
}

// text appends a msgpack string.
func text(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s)))
	return append(b, s...)
}

// seal appends plain to head, encrypted with key and bound to known.
func seal(head, key, plain, known []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal a packet: %w", err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal a packet: %w", err)
	}
	// Version 1: no padding.
	return gcm.Seal(append(head, 1), nil, plain, known), nil // #nosec G407 -- NewGCMWithRandomNonce makes the nonce, and takes none
}
