package memnet

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// The bytes with which memberlist 0.7.0 begins a packet or a stream.
const (
	hasLabel  = 244
	alive     = 4
	dead      = 5
	pushPull  = 6
	encrypted = 10

	fields = 0x80 // begins a msgpack map; the low bits are the number of fields
)

// Death returns an unencrypted packet in which the member named from reports to the pool with
// this label that node is dead in an incarnation. A machine that is no member can send it.
func Death(label, node, from string, incarnation uint32) []byte {
	b := append(labelled(label), dead, fields|3)
	b = binary.BigEndian.AppendUint32(append(text(b, "Incarnation"), 0xce), incarnation)
	b = text(text(b, "Node"), node)
	return text(text(b, "From"), from)
}

// Alive returns an unencrypted packet that announces a member at an IPv4 address.
func Alive(label, node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	return slices.Concat(labelled(label), []byte{alive}, state("Node", node, at, incarnation, meta))
}

// Sealed encrypts a packet with the pool's key.
func Sealed(label string, key, packet []byte) ([]byte, error) {
	head := labelled(label)
	return seal(head, key, packet[len(head):], []byte(label))
}

// PushPull returns the stream by which a holder of the pool's key joins it and reports the
// members in listed, each made by Listed.
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

// Listed returns a live member at an IPv4 address, for PushPull.
func Listed(node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	return state("Name", node, at, incarnation, meta)
}

// state encodes a member as a map. name is the key of its name, which differs between
// messages.
func state(name, node string, at netip.AddrPort, incarnation uint32, meta []byte) []byte {
	b := binary.BigEndian.AppendUint32(append(text([]byte{fields | 6}, "Incarnation"), 0xce), incarnation)
	b = text(text(b, name), node)
	b = text(text(b, "Addr"), string(at.Addr().AsSlice()))
	b = binary.BigEndian.AppendUint16(append(text(b, "Port"), 0xcd), at.Port())
	b = text(text(b, "Meta"), string(meta))
	return text(text(b, "Vsn"), "\x01\x05\x02\x00\x00\x00") // protocol 1 to 5, 2 spoken
}

// labelled returns the label header, which begins a packet or a stream.
func labelled(label string) []byte {
	return append([]byte{hasLabel, byte(len(label))}, label...)
}

// text appends a msgpack string.
func text(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s)))
	return append(b, s...)
}

// seal appends plain to head, encrypted with key; known is the associated data.
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
