package gossip

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/internal/text"
)

// KeyOp is what to do with a key.
type KeyOp byte

// The operations.
const (
	ListKeys  KeyOp = 1
	AddKey    KeyOp = 2 // accept it: of older versions, and refused
	UseKey    KeyOp = 3 // encrypt with it
	RemoveKey KeyOp = 4 // accept it no more
)

// String is how it is logged.
func (o KeyOp) String() string {
	switch o {
	case ListKeys:
		return "list"
	case AddKey:
		return "add"
	case UseKey:
		return "use"
	case RemoveKey:
		return "remove"
	default:
		return "?"
	}
}

// KeyQuery says what members are to do with their keys.
type KeyQuery struct {
	Op          KeyOp
	Fingerprint Fingerprint // with UseKey and RemoveKey
	nonce       uuid.UUID
}

// Saved says what became of a member's key file.
type Saved byte

// The fates of a key file.
const (
	NoFile      Saved = 0 // there is none, or nothing was to be written
	SavedToFile Saved = 1
	NotSaved    Saved = 2 // a restart brings the old keys back
)

// KeyAnswer is what a member says of its keys.
type KeyAnswer struct {
	Member  uuid.UUID
	Keys    []Fingerprint // the one that it encrypts with first; none: it does not encrypt
	Saved   Saved
	Problem string // why it did not do what it was asked to
}

const (
	maxProblem    = 300 // bytes
	keyAnswerHead = 16 + 1 + 1
)

func (q KeyQuery) encode() []byte {
	b := append(append(make([]byte, 0, 64), q.nonce[:]...), byte(q.Op))
	switch q.Op {
	case UseKey, RemoveKey:
		b = append(b, q.Fingerprint[:]...)
	case ListKeys, AddKey:
	}
	return b
}

func decodeKeyQuery(b []byte) (KeyQuery, error) {
	var q KeyQuery
	if len(b) < len(q.nonce)+1 {
		return q, fmt.Errorf("key query is %d bytes long", len(b))
	}
	copy(q.nonce[:], b)
	q.Op = KeyOp(b[len(q.nonce)])
	rest := b[len(q.nonce)+1:]
	switch q.Op {
	case ListKeys:
		if len(rest) != 0 {
			return q, errors.New("key query is too long")
		}
	case AddKey:
		// The key that it brings is not read.
	case UseKey, RemoveKey:
		if len(rest) != len(q.Fingerprint) {
			return q, errors.New("key query names no key")
		}
		q.Fingerprint = Fingerprint(rest)
	default:
		return q, fmt.Errorf("key query is of unknown kind %d", q.Op)
	}
	return q, nil
}

func (a KeyAnswer) encode(nonce uuid.UUID) []byte {
	b := append(append(make([]byte, 0, 256), nonce[:]...), byte(a.Saved), byte(len(a.Keys)))
	for _, k := range a.Keys {
		b = append(b, k[:]...)
	}
	return append(b, a.Problem[:min(len(a.Problem), maxProblem)]...)
}

func decodeKeyAnswer(b []byte) (a KeyAnswer, nonce uuid.UUID, err error) {
	if len(b) < keyAnswerHead {
		return a, nonce, fmt.Errorf("key answer is %d bytes long", len(b))
	}
	copy(nonce[:], b)
	a.Saved = Saved(b[16])
	n, rest := int(b[17]), b[keyAnswerHead:]
	if n > maxKeysHeld || len(rest) < n*len(Fingerprint{}) || len(rest) > n*len(Fingerprint{})+maxProblem || a.Saved > NotSaved {
		return a, nonce, errors.New("key answer cannot be read")
	}
	for range n {
		a.Keys = append(a.Keys, Fingerprint(rest[:8]))
		rest = rest[8:]
	}
	a.Problem = text.Clean(string(rest))
	return a, nonce, nil
}
