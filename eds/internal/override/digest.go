package override

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/google/uuid"
)

// Buckets is into how many parts the keys are divided for comparing what two
// servers hold.
const Buckets = 256

// Digest sums up everything that a Store holds, ended overrides too: two servers
// with equal digests hold the same.
type Digest [Buckets]uint64

// Digest returns the present one.
func (s *Store) Digest() Digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.buckets
}

// Held returns the newest override about each key in the buckets that wanted
// picks, ended ones too, in no order.
func (s *Store) Held(wanted func(bucket byte) bool) []Override {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var held []Override
	now := s.now()
	for k, r := range s.all {
		if wanted(BucketOf(k)) {
			held = append(held, r.withLeft(now))
		}
	}
	return held
}

// Server is the id that this store stamps overrides with.
func (s *Store) Server() uuid.UUID { return s.clock.server }

// BucketOf is the part that k belongs to.
func BucketOf(k Key) byte {
	sum := sha256.Sum256([]byte(k.Service + "\x00" + k.Host))
	return sum[len(sum)-1]
}

// hash is r's share in its bucket's sum.
func (r record) hash() uint64 { return binary.BigEndian.Uint64(r.sum[:]) }

// etag is the sum over all overrides in force for a service.
type etag [16]byte

// toggle puts r in, or takes it out.
func (e etag) toggle(r record) etag {
	for i := range e {
		e[i] ^= r.sum[8+i]
	}
	return e
}

// String is "" for no override in force.
func (e etag) String() string {
	if e == (etag{}) {
		return ""
	}
	return hex.EncodeToString(e[:])
}

// ServiceTag is the text of a strong ETag for all overrides of a service:
// equal at every server that holds the same overrides in force, "" when there is none.
func (s *Store) ServiceTag(service string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.etags[service].String()
}
