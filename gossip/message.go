package gossip

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// maxMessage is the most that a message between members may take, in bytes.
const maxMessage = 512

// messageKind is the first byte of a message that one member sends to another one, over
// memberlist's user messages. The kind decides what follows it; another form of
// the same message takes another kind. Members ignore kinds that they do not know.
type messageKind byte

// messageMissing tells a member that the sender holds it for dead: 16 bytes of the
// member's id, 16 of the sender's.
const messageMissing messageKind = 1

// errUnknownKind is returned for a message of a later version.
var errUnknownKind = errors.New("message is of an unknown kind")

// missingMessage is the body of messageMissing.
type missingMessage struct{ member, sender uuid.UUID }

func (m missingMessage) encode() []byte {
	b := append(make([]byte, 0, 1+2*len(uuid.UUID{})), byte(messageMissing))
	b = append(b, m.member[:]...)
	return append(b, m.sender[:]...)
}

// decodeMessage reads a message from the network. It keeps nothing of b.
func decodeMessage(b []byte) (missingMessage, error) {
	if len(b) == 0 {
		return missingMessage{}, errors.New("message is empty")
	}
	if len(b) > maxMessage {
		return missingMessage{}, fmt.Errorf("message is %d bytes long, at most %d are allowed", len(b), maxMessage)
	}
	if messageKind(b[0]) != messageMissing {
		return missingMessage{}, errUnknownKind
	}
	var m missingMessage
	body := b[1:]
	if len(body) != len(m.member)+len(m.sender) {
		return missingMessage{}, fmt.Errorf("message of kind %d has a body of %d bytes", b[0], len(body))
	}
	copy(m.member[:], body)
	copy(m.sender[:], body[len(m.member):])
	return m, nil
}
