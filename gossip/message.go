package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/text"
)

// The most that a message between members may take, in bytes, and one from an EDS
// server to another: a manual list can be long.
const (
	maxMessage = 1 << 10
	maxShare   = 4 << 20
)

// messageKind is the first byte of a message that one member sends to another one,
// over memberlist's user messages. Behind it are 16 bytes of the id of the member
// that it is about, 16 of the sender's, and a body that the kind decides. Another
// form of the same message takes another kind. Members ignore kinds that they do
// not know.
type messageKind byte

const (
	// messageMissing tells a member that the sender holds it for dead. No body.
	messageMissing messageKind = 1
	// messageWord is what a member says of itself, ahead of gossip. The body is its
	// metadata.
	messageWord messageKind = 2
	// messageReceipt tells a member how far its word has come. The body is a receipt.
	messageReceipt messageKind = 3
	// messageShare is between two EDS servers. What is in the body is their own
	// business.
	messageShare messageKind = 4
	// messageHere tells whoever gossips at the receiver's address that the sender is
	// alive. The body is where the sender gossips.
	messageHere messageKind = 5

	// messageChallenge asks a member to repeat the body to the sender, at once.
	messageChallenge messageKind = 0x40
	// messageAnswer does so.
	messageAnswer messageKind = 0x41
	// messageKeyQuery asks a member about its keys, or to change them. The body is a
	// key query.
	messageKeyQuery messageKind = 0x42
	// messageKeyAnswer is what it says. The body is a key answer.
	messageKeyAnswer messageKind = 0x43
	// messageOffer asks a member whether it takes a link. The body is to be repeated.
	messageOffer messageKind = 0x44
	// messageTakes says that it does.
	messageTakes messageKind = 0x45
	// messageQuestion asks a member to challenge another one. The body is a random number,
	// and that one's id.
	messageQuestion messageKind = 0x46
	// messageReport says that it has answered. The body is the number.
	messageReport messageKind = 0x47
)

// known reports whether this version understands the kind.
func (k messageKind) known() bool {
	return k >= messageMissing && k <= messageHere || k >= messageChallenge && k <= messageReport
}

const (
	headSize    = 1 + 2*len(uuid.UUID{})
	receiptSize = 8 + 1 + 4 // without the names
)

// errUnknownKind is returned for a message of a later version.
var errUnknownKind = errors.New("message is of an unknown kind")

// message is what goes from one member to another.
type message struct {
	kind           messageKind
	member, sender uuid.UUID
	body           []byte
}

func (m message) encode() []byte {
	b := append(make([]byte, 0, headSize+len(m.body)), byte(m.kind))
	b = append(b, m.member[:]...)
	b = append(b, m.sender[:]...)
	return append(b, m.body...)
}

// decodeMessage reads a message from the network. Its body is a part of b.
func decodeMessage(b []byte) (message, error) {
	switch {
	case len(b) == 0:
		return message{}, errors.New("message is empty")
	case len(b) > maxMessage && (messageKind(b[0]) != messageShare || len(b) > maxShare):
		return message{}, fmt.Errorf("message of kind %d is %d bytes long, which is too much", b[0], len(b))
	}
	m := message{kind: messageKind(b[0])}
	if !m.kind.known() {
		return message{}, errUnknownKind
	}
	if len(b) < headSize || (m.kind == messageMissing && len(b) != headSize) {
		return message{}, fmt.Errorf("message of kind %d is %d bytes long", m.kind, len(b))
	}
	copy(m.member[:], b[1:])
	copy(m.sender[:], b[1+len(m.member):])
	m.body = b[headSize:]
	return m, nil
}

// encode writes a receipt as the body of a message.
func (r Receipt) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, receiptSize+len(r.Behind)), r.Revision)
	b = append(b, byte(r.State))
	b = binary.BigEndian.AppendUint32(b, uint32(max(r.Clients, 0)))
	return append(b, r.Behind[:min(len(r.Behind), maxBehind)]...)
}

// decodeReceipt reads the body of a message.
func decodeReceipt(b []byte) (Receipt, error) {
	if len(b) < receiptSize || len(b) > receiptSize+maxBehind {
		return Receipt{}, fmt.Errorf("receipt is %d bytes long", len(b))
	}
	r := Receipt{
		Revision: binary.BigEndian.Uint64(b), State: ReceiptState(b[8]),
		Clients: int(binary.BigEndian.Uint32(b[9:])), Behind: text.Clean(string(b[receiptSize:])),
	}
	if r.State < Pending || r.State > Denied {
		return Receipt{}, fmt.Errorf("receipt has the unknown state %d", r.State)
	}
	return r, nil
}

// decodeWord reads the metadata in a message.
func decodeWord(m message) (fleet.Member, error) {
	if m.member != m.sender {
		return fleet.Member{}, fmt.Errorf("%s speaks for %s", m.sender, m.member)
	}
	word, err := fleet.Decode(m.body)
	word.ID = m.member
	return word, err
}
