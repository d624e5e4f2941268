package override

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Stamp is the moment of an override on a hybrid logical clock: the wall clock,
// moved on by every stamp seen, so that what follows an override is later than it
// even where clocks differ. Of two overrides about one thing the higher wins.
type Stamp struct {
	Wall   int64  // milliseconds since 1970, below 1<<48
	Count  uint32 // of overrides within that millisecond
	Server uuid.UUID
}

const (
	maxWall   = 1<<48 - 1
	stampText = 12 + 1 + 8 + 1 + 32

	// maxAhead is how far ahead of this server's clock another one's may be: one bad
	// clock must not stamp overrides that no other server can overrule. A clock that
	// was an hour or a time zone ahead for a while must not do so either: what was
	// stamped by it is accepted, and whatever is set next is later.
	maxAhead = 24 * time.Hour
)

// ErrAhead is returned for a stamp from a clock that cannot be believed.
var ErrAhead = errors.New("its clock is more than a day ahead of this server's: correct the clocks of the EDS servers")

// Compare orders stamps.
func (s Stamp) Compare(other Stamp) int {
	return cmp.Or(cmp.Compare(s.Wall, other.Wall), cmp.Compare(s.Count, other.Count), bytes.Compare(s.Server[:], other.Server[:]))
}

// IsZero reports whether s is no stamp.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// String is s as text that sorts as stamps do.
func (s Stamp) String() string {
	return fmt.Sprintf("%012x-%08x-%s", s.Wall, s.Count, hex.EncodeToString(s.Server[:]))
}

// ParseStamp reads what String wrote, and nothing else.
func ParseStamp(text string) (Stamp, error) {
	bad := fmt.Errorf("stamp %.60q is not the stamp of an override", text)
	if len(text) != stampText || text[12] != '-' || text[21] != '-' {
		return Stamp{}, bad
	}
	wall, err1 := strconv.ParseUint(text[:12], 16, 48)
	count, err2 := strconv.ParseUint(text[13:21], 16, 32)
	server, err3 := uuid.Parse(text[22:])
	s := Stamp{Wall: int64(wall), Count: uint32(count), Server: server}
	if errors.Join(err1, err2, err3) != nil || s.String() != text {
		return Stamp{}, bad
	}
	return s, nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Stamp) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Stamp) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStamp(string(text))
	return err
}

// check reports whether s can be a stamp of another server, at now.
func (s Stamp) check(now time.Time) error {
	switch {
	case s.Wall <= 0 || s.Wall > maxWall || s.Server == uuid.Nil:
		return errors.New("it has no stamp")
	case s.Wall > now.Add(maxAhead).UnixMilli():
		return ErrAhead
	default:
		return nil
	}
}

// clock makes stamps. It is guarded by the store's write lock.
type clock struct {
	server uuid.UUID
	last   Stamp // the highest seen
}

// next returns a stamp above every one seen.
func (c *clock) next(now time.Time) Stamp {
	s := Stamp{Wall: now.UnixMilli(), Server: c.server}
	switch {
	case s.Wall > c.last.Wall:
	case c.last.Count == 1<<32-1:
		s.Wall = c.last.Wall + 1
	default:
		s.Wall, s.Count = c.last.Wall, c.last.Count+1
	}
	c.last = s
	return s
}

// observe takes note of a stamp that was checked.
func (c *clock) observe(s Stamp) {
	if s.Compare(c.last) > 0 {
		c.last = s
	}
}
