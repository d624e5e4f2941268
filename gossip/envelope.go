package gossip

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// messageSigned is the first byte of an envelope: 8 bytes of the sender's count,
// 64 of an Ed25519 signature, and the message. The signature covers the fleet's
// name and the receiver's id as well.
const messageSigned = 0xE5

const (
	envelopeSize  = 1 + 8 + ed25519.SignatureSize
	replayWindow  = 256  // messages of one sender that may overtake each other
	replaySenders = 1024 // whose messages are kept apart
)

var (
	errUnsigned = errors.New("message is not signed with the EDS servers' key, see --eds-pub")
	errReplayed = errors.New("message was received before")
)

// byEDS reports whether only an EDS server may send such a message: every kind but
// those by which a member speaks of itself alone.
func (k messageKind) byEDS() bool {
	switch k {
	case messageWord, messageHere, messageChallenge, messageAnswer, messageKeyAnswer, messageTakes, messageReport:
		return false
	default:
		return true
	}
}

// envelopes signs what this member sends, and checks what it receives. Its zero
// value does neither.
type envelopes struct {
	fleet string
	self  uuid.UUID
	sign  ed25519.PrivateKey  // nil: this is no EDS server, or the pool has no such key
	trust []ed25519.PublicKey // none: anybody in the pool is believed

	mu    sync.Mutex
	count uint64               // of messages sealed
	seen  map[uuid.UUID]replay // by sender
}

// seal returns the message as it is sent to receiver.
func (e *envelopes) seal(receiver uuid.UUID, m message) []byte {
	inner := m.encode()
	if e.sign == nil || !m.kind.byEDS() {
		return inner
	}
	e.mu.Lock()
	e.count++
	count := e.count
	e.mu.Unlock()
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, envelopeSize+len(inner)), messageSigned), count)
	b = append(b, ed25519.Sign(e.sign, e.covered(receiver, count, inner))...)
	return append(b, inner...)
}

// covered is what a signature is made of. The receiver's id is new at each start, so
// what was sent to its forerunner is not believed.
func (e *envelopes) covered(receiver uuid.UUID, count uint64, inner []byte) []byte {
	b := fmt.Appendf(nil, "rollcall message 1\x00%d\x00%s", len(e.fleet), e.fleet)
	b = binary.BigEndian.AppendUint64(append(b, receiver[:]...), count)
	return append(b, inner...)
}

// open returns the message in what was received, if whoever sent it may send that.
func (e *envelopes) open(b []byte) (message, error) {
	if len(b) == 0 || b[0] != messageSigned {
		m, err := decodeMessage(b)
		if err == nil && len(e.trust) > 0 && m.kind.byEDS() {
			return m, errUnsigned
		}
		return m, err
	}
	if len(b) < envelopeSize {
		return message{}, fmt.Errorf("signed message is %d bytes long", len(b))
	}
	count, signature, inner := binary.BigEndian.Uint64(b[1:]), b[9:envelopeSize], b[envelopeSize:]
	m, err := decodeMessage(inner)
	if err != nil || len(e.trust) == 0 {
		return m, err
	}
	covered := e.covered(e.self, count, inner)
	if !slices.ContainsFunc(e.trust, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, covered, signature) }) {
		return m, errUnsigned
	}
	if !e.fresh(m.sender, count) {
		return m, errReplayed
	}
	return m, nil
}

// fresh notes a message of sender's, and reports whether it is a new one.
func (e *envelopes) fresh(sender uuid.UUID, count uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil || len(e.seen) >= replaySenders && e.seen[sender] == nil {
		e.seen = make(map[uuid.UUID]replay) // only who holds the EDS servers' key gets here
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
