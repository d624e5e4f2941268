package share

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// kind is the first byte of a message between two EDS servers.
type kind byte

const (
	kindDigest    kind = 1 // the sums of all buckets, eight bytes each
	kindStamps    kind = 2 // what the sender holds in some buckets, and the same is wanted back when something is missing
	kindAnswer    kind = 3 // the same, as an answer
	kindOverrides kind = 4 // override.Encode
	kindAsk       kind = 5 // kindDigest, to be answered by the same if the sums are
)

const (
	chunkSize = 32 << 10 // bytes of overrides in one message; one alone may be longer
	stampSize = 8 + 8 + 4 + 16
)

var errShort = errors.New("message is truncated")

func encodeDigest(k kind, d override.Digest) []byte {
	b := append(make([]byte, 0, 1+8*len(d)), byte(k))
	for _, sum := range d {
		b = binary.BigEndian.AppendUint64(b, sum)
	}
	return b
}

func decodeDigest(b []byte) (override.Digest, error) {
	var d override.Digest
	if len(b) != 8*len(d) {
		return d, fmt.Errorf("digest is %d bytes: want %d", len(b), 8*len(d))
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return d, nil
}

// buckets is a set of them.
type buckets [override.Buckets / 8]byte

func (s *buckets) add(i int)       { s[i/8] |= 1 << (i % 8) }
func (s *buckets) has(i byte) bool { return s[i/8]&(1<<(i%8)) != 0 }

// differing are the buckets in which two servers do not hold the same.
func differing(sums [2]override.Digest) (set buckets) {
	for i := range sums[0] {
		if sums[0][i] != sums[1][i] {
			set.add(i)
		}
	}
	return set
}

// stamps says what a server holds in some buckets.
type stamps struct {
	in   buckets
	held map[string]override.Stamp // by the override's id
}

func (s stamps) encode(k kind) []byte {
	b := append(make([]byte, 0, 1+len(s.in)+stampSize*len(s.held)), byte(k))
	b = append(b, s.in[:]...)
	for id, st := range s.held {
		n, _ := override.ParseID(id)
		b = binary.BigEndian.AppendUint64(b, n)
		b = binary.BigEndian.AppendUint64(b, uint64(st.Wall))
		b = binary.BigEndian.AppendUint32(b, st.Count)
		b = append(b, st.Server[:]...)
	}
	return b
}

func decodeStamps(b []byte) (stamps, error) {
	s := stamps{held: make(map[string]override.Stamp)}
	if len(b) < len(s.in) || (len(b)-len(s.in))%stampSize != 0 {
		return s, errShort
	}
	b = b[copy(s.in[:], b):]
	for ; len(b) > 0; b = b[stampSize:] {
		st := override.Stamp{Wall: int64(binary.BigEndian.Uint64(b[8:])), Count: binary.BigEndian.Uint32(b[16:])}
		copy(st.Server[:], b[20:])
		s.held[override.FormatID(binary.BigEndian.Uint64(b))] = st
	}
	return s, nil
}

// stampsOf sums up what is held.
func stampsOf(in buckets, held []override.Override) stamps {
	s := stamps{in: in, held: make(map[string]override.Stamp, len(held))}
	for _, o := range held {
		s.held[o.ID] = o.Stamp
	}
	return s
}

// chunks writes overrides as messages.
func chunks(list []override.Override) ([][]byte, error) {
	var messages [][]byte
	for len(list) > 0 {
		b, n, err := chunk(list)
		if err != nil {
			return nil, err
		}
		messages = append(messages, b)
		list = list[n:]
	}
	return messages, nil
}

// chunk writes the first n overrides as a message.
func chunk(list []override.Override) (b []byte, n int, err error) {
	size := 0
	for n < len(list) && (n == 0 || size < chunkSize) {
		size += roughly(list[n])
		n++
	}
	if n > 1 && size > chunkSize {
		n--
	}
	v, err := override.Encode(list[:n])
	return append([]byte{byte(kindOverrides)}, v...), n, err
}

// roughly is how long o is when written, in bytes.
func roughly(o override.Override) int { return 300 + len(o.Reason) + 160*len(o.Hosts) + 64*len(o.Tags) }
