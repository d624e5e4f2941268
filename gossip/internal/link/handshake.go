package link

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/google/uuid"
)

// Preamble is what a stream begins with. A later form of the protocol gets another
// number at the end.
const Preamble = "ROLLCALL\x01"

const (
	idSize    = len(uuid.UUID{})
	nonceSize = 32
	tagSize   = sha256.Size

	helloSize = len(Preamble) + 2*idSize + sha256.Size + nonceSize
	replySize = nonceSize + tagSize
	proofSize = tagSize + ed25519.SignatureSize
)

// What a tag or a key is for. Each is used once in a stream.
const (
	byMember   = "rollcall link 1: the member has the key"
	byServer   = "rollcall link 1: the server has the key"
	signedBy   = "rollcall link 1: the server is an EDS server"
	fromServer = "rollcall link 1: frames of the server"
	fromMember = "rollcall link 1: frames of the member"
)

// The reasons for which a handshake fails, besides errors of the connection.
var (
	ErrKey       = errors.New("the other end has no key of this pool")
	ErrFleet     = errors.New("the other end is of another fleet")
	ErrID        = errors.New("the stream is for another member")
	ErrStranger  = errors.New("the other end is no EDS server of the pool")
	ErrSignature = errors.New("the other end has no signature by the EDS servers' key")
)

// Identity is one end of streams.
type Identity struct {
	Fleet string
	ID    uuid.UUID
	Keys  func() [][]byte     // of the pool, the one to encrypt with first; none: the streams are plain
	Sign  ed25519.PrivateKey  // the EDS servers'; nil where there is none
	Trust []ed25519.PublicKey // the EDS servers'; none: no signature is needed
}

// Dial is the server's part of the handshake with member over conn. The caller bounds
// it by a deadline and closes conn when it fails.
func (i Identity) Dial(conn net.Conn, member uuid.UUID) (*Conn, error) {
	fleet := sha256.Sum256([]byte(i.Fleet))
	said := slices.Concat([]byte(Preamble), i.ID[:], member[:], fleet[:], newNonce())
	if _, err := conn.Write(said); err != nil {
		return nil, err
	}
	reply := make([]byte, replySize)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	said = append(said, reply[:nonceSize]...)
	key, ok := i.find(said, reply[nonceSize:])
	if !ok {
		return nil, ErrKey
	}
	signature := make([]byte, ed25519.SignatureSize)
	if i.Sign != nil {
		signature = ed25519.Sign(i.Sign, append([]byte(signedBy), said...))
	}
	if _, err := conn.Write(append(tag(key, byServer, said), signature...)); err != nil {
		return nil, err
	}
	return newConn(conn, member, key, said, fromServer, fromMember)
}

// Accept is the member's part of the handshake over conn, after the preamble was read
// from it. known reports whether an id is one of an EDS server of the pool. The caller
// bounds it by a deadline and closes conn when it fails.
func (i Identity) Accept(conn net.Conn, known func(server uuid.UUID) bool) (*Conn, error) {
	said := append(make([]byte, 0, helloSize+nonceSize), Preamble...)
	said = said[:helloSize]
	if _, err := io.ReadFull(conn, said[len(Preamble):]); err != nil {
		return nil, fmt.Errorf("read the hello: %w", err)
	}
	rest := said[len(Preamble):]
	server, member, fleet := uuid.UUID(rest[:idSize]), uuid.UUID(rest[idSize:2*idSize]), [sha256.Size]byte(rest[2*idSize:])
	switch {
	case fleet != sha256.Sum256([]byte(i.Fleet)):
		return nil, ErrFleet
	case member != i.ID:
		return nil, ErrID
	case !known(server):
		return nil, ErrStranger
	}
	nonce := newNonce()
	said = append(said, nonce...)
	key := i.keys()[0]
	if _, err := conn.Write(append(nonce, tag(key, byMember, said)...)); err != nil {
		return nil, err
	}
	proof := make([]byte, proofSize)
	if _, err := io.ReadFull(conn, proof); err != nil {
		return nil, fmt.Errorf("read the proof: %w", err)
	}
	if !hmac.Equal(proof[:tagSize], tag(key, byServer, said)) {
		return nil, ErrKey
	}
	if len(i.Trust) > 0 {
		signed := append([]byte(signedBy), said...)
		if !slices.ContainsFunc(i.Trust, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, signed, proof[tagSize:]) }) {
			return nil, ErrSignature
		}
	}
	return newConn(conn, server, key, said, fromMember, fromServer)
}

// keys are the pool's. One without keys has the empty one.
func (i Identity) keys() [][]byte {
	if keys := i.Keys(); len(keys) > 0 {
		return keys
	}
	return [][]byte{nil}
}

// find returns the key that the member used, which may be any while they are rotated.
func (i Identity) find(said, proof []byte) ([]byte, bool) {
	for _, key := range i.keys() {
		if hmac.Equal(proof, tag(key, byMember, said)) {
			return key, true
		}
	}
	return nil, false
}

func tag(key []byte, purpose string, said []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	h.Write(said)
	return h.Sum(nil)
}

func newNonce() []byte {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // it never fails
	return nonce
}
