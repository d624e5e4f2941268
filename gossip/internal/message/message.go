// Package message is what members send to each other beside gossip: the kinds of messages,
// their bytes, and the envelope by which an EDS server signs them. docs/wire.md has the
// layout.
package message

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Bounds, in bytes.
const (
	MaxSize      = 1 << 10                // of a message between members
	MaxShareSize = 4 << 20                // of one between EDS servers: a manual list can be long
	HeadSize     = 1 + 2*len(uuid.UUID{}) // of what stands before the body
)

// Kind is the first byte of a message that one member sends to another one,
// over memberlist's user messages. Behind it are 16 bytes of the id of the member
// that it is about, 16 of the sender's, and a body that the kind decides. Another
// form of the same message takes another kind. Members ignore kinds that they do
// not know.
type Kind byte

const (
	// Missing tells a member that it is dead in the sender's table. No body.
	Missing Kind = 1
	// Word is the state of a member, ahead of gossip. The body is its metadata.
	Word Kind = 2
	// Receipt tells a member how far its announcement has come. See fleet.Receipt.
	Receipt Kind = 3
	// Share is between two EDS servers. Package share has the body.
	Share Kind = 4
	// Here tells any member at the receiver's address that the sender is alive. The
	// body is where the sender gossips.
	Here Kind = 5

	// Challenge asks a member to repeat the body to the sender, at once.
	Challenge Kind = 0x40
	// Answer is the reply to a Challenge.
	Answer Kind = 0x41
	// KeyQuery asks a member about its keys, or to change them. The body is a
	// key query.
	KeyQuery Kind = 0x42
	// KeyAnswer is the reply to a KeyQuery. The body is a key answer.
	KeyAnswer Kind = 0x43
	// Offer asks a member whether it takes a link. The body is to be repeated.
	Offer Kind = 0x44
	// Takes is the reply of a member that takes a link.
	Takes Kind = 0x45
	// Question asks a member to challenge another one. The body is a random number
	// and the id of the other member.
	Question Kind = 0x46
	// Report says that the other member has answered. The body is the number.
	Report Kind = 0x47
)

// Known reports whether this version understands the kind.
func (k Kind) Known() bool {
	return k >= Missing && k <= Here || k >= Challenge && k <= Report
}

// ErrUnknownKind is returned for a message of a later version.
var ErrUnknownKind = errors.New("message is of an unknown kind")

// Message goes from one member to another.
type Message struct {
	Kind           Kind
	Member, Sender uuid.UUID
	Body           []byte
}

// Encode writes m.
func (m Message) Encode() []byte {
	b := append(make([]byte, 0, HeadSize+len(m.Body)), byte(m.Kind))
	b = append(b, m.Member[:]...)
	b = append(b, m.Sender[:]...)
	return append(b, m.Body...)
}

// Decode reads a message from the network. Its body is a part of b.
func Decode(b []byte) (Message, error) {
	switch {
	case len(b) == 0:
		return Message{}, errors.New("message is empty")
	case len(b) > MaxSize && (Kind(b[0]) != Share || len(b) > MaxShareSize):
		return Message{}, fmt.Errorf("message of kind %d is %d bytes long, which is too much", b[0], len(b))
	}
	m := Message{Kind: Kind(b[0])}
	if !m.Kind.Known() {
		return Message{}, ErrUnknownKind
	}
	if len(b) < HeadSize || (m.Kind == Missing && len(b) != HeadSize) {
		return Message{}, fmt.Errorf("message of kind %d is %d bytes long", m.Kind, len(b))
	}
	copy(m.Member[:], b[1:])
	copy(m.Sender[:], b[1+len(m.Member):])
	m.Body = b[HeadSize:]
	return m, nil
}
