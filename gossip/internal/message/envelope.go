package message

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// Signed is the first byte of an envelope: 8 bytes of the sender's count,
// 64 of an Ed25519 signature, and the message. The signature covers the fleet's
// name and the receiver's id as well.
const Signed = 0xE5

const (
	envelopeSize  = 1 + 8 + ed25519.SignatureSize
	replayWindow  = 256  // messages of one sender that may overtake each other
	replaySenders = 1024 // whose messages are kept apart
)

// The errors of Open, beside those of Decode.
var (
	ErrUnsigned = errors.New("message is not signed with the EDS servers' key, see --eds-pub")
	ErrReplayed = errors.New("message was received before")
)

// ByEDS reports whether only an EDS server may send such a message: every kind but
// those by which a member speaks of itself alone.
func (k Kind) ByEDS() bool {
	switch k {
	case Word, Here, Challenge, Answer, KeyAnswer, Takes, Report:
		return false
	default:
		return true
	}
}

// Envelopes signs what this member sends, and checks what it receives. Its zero
// value does neither.
type Envelopes struct {
	Fleet string
	Self  uuid.UUID
	Sign  ed25519.PrivateKey  // nil: this is no EDS server, or the pool has no such key
	Trust []ed25519.PublicKey // none: every member is believed

	mu    sync.Mutex
	count uint64               // of messages sealed
	seen  map[uuid.UUID]replay // by sender
}

// Seal returns the message as it is sent to receiver.
func (e *Envelopes) Seal(receiver uuid.UUID, m Message) []byte {
	inner := m.Encode()
	if e.Sign == nil || !m.Kind.ByEDS() {
		return inner
	}
	e.mu.Lock()
	e.count++
	count := e.count
	e.mu.Unlock()
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, envelopeSize+len(inner)), Signed), count)
	b = append(b, ed25519.Sign(e.Sign, e.covered(receiver, count, inner))...)
	return append(b, inner...)
}

// covered is what a signature is made of. The receiver's id is new at each start, so
// what was sent to its forerunner is not believed.
func (e *Envelopes) covered(receiver uuid.UUID, count uint64, inner []byte) []byte {
	b := fmt.Appendf(nil, "rollcall message 1\x00%d\x00%s", len(e.Fleet), e.Fleet)
	b = binary.BigEndian.AppendUint64(append(b, receiver[:]...), count)
	return append(b, inner...)
}

// Open returns the message in what was received. It is an error if the sender may not send
// it.
func (e *Envelopes) Open(b []byte) (Message, error) {
	if len(b) == 0 || b[0] != Signed {
		m, err := Decode(b)
		if err == nil && len(e.Trust) > 0 && m.Kind.ByEDS() {
			return m, ErrUnsigned
		}
		return m, err
	}
	if len(b) < envelopeSize {
		return Message{}, fmt.Errorf("signed message is %d bytes long", len(b))
	}
	count, signature, inner := binary.BigEndian.Uint64(b[1:]), b[9:envelopeSize], b[envelopeSize:]
	m, err := Decode(inner)
	if err != nil || len(e.Trust) == 0 {
		return m, err
	}
	covered := e.covered(e.Self, count, inner)
	if !slices.ContainsFunc(e.Trust, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, covered, signature) }) {
		return m, ErrUnsigned
	}
	if !e.fresh(m.Sender, count) {
		return m, ErrReplayed
	}
	return m, nil
}

// fresh notes a message of sender's, and reports whether it is a new one.
func (e *Envelopes) fresh(sender uuid.UUID, count uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil || len(e.seen) >= replaySenders && e.seen[sender] == nil {
		e.seen = make(map[uuid.UUID]replay) // only a holder of the EDS servers' key gets here
	}
	r, ok := e.seen[sender].add(count)
	e.seen[sender] = r
	return ok
}

// replay is the latest counts of one sender, sorted.
type replay []uint64

// add reports whether count is none that was there before. What is older than all
// of a full window is taken for a repeat.
func (r replay) add(count uint64) (replay, bool) {
	i, found := slices.BinarySearch(r, count)
	if found || (i == 0 && len(r) == replayWindow) {
		return r, false
	}
	r = slices.Insert(r, i, count)
	if len(r) > replayWindow {
		r = slices.Delete(r, 0, 1)
	}
	return r, true
}
