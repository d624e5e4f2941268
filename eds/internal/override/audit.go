package override

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Action is what happened to an override.
type Action string

// The actions of the audit.
const (
	Created   Action = "created"
	Changed   Action = "changed"
	Revoked   Action = "revoked"
	Expired   Action = "expired"
	Overtaken Action = "overtaken" // it came from another server, and a later one was there already

	// Recorded by Note: these are not overrides.
	Confirmed  Action = "confirmed" // that the silent hosts of a service are dead
	KeyAdded   Action = "key added" // to the pool
	KeyUsed    Action = "key used"
	KeyRemoved Action = "key removed"
)

// What the audit keeps.
const (
	keepAudit  = 90 * 24 * time.Hour
	maxAudit   = 100_000   // entries
	auditBytes = 256 << 20 // lists can be long
	pruneMost  = 256       // entries taken out at a time

	// auditSkew is by how much the clock may have been set back between two entries:
	// they are in the order in which they were written, with the time as it was then.
	auditSkew = 24 * time.Hour
)

var (
	auditBucket  = []byte("audit")        // by sequence number
	stampsBucket = []byte("audit-stamps") // those of the entries
	auditKey     = []byte("audit-bytes")
)

// Entry is one line of the audit.
type Entry struct {
	ID       string `json:"-"` // sorts by age; a position to continue from
	At       time.Time
	Action   Action
	Override Override  // after it
	Before   *Override `json:",omitempty"` // what was in force until then; with Overtaken what overtook it
	Key      string    `json:",omitempty"` // the fingerprint of the key that it is about, of KeyAdded and the like
}

// Audit returns the entries since a moment, newest first, limit at most. before is
// the ID of an entry to continue after, or "". An entry that cannot be read is skipped
// and counted.
func (s *Store) Audit(since time.Time, limit int, before string) ([]Entry, error) {
	var entries []Entry
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(auditBucket).Cursor()
		k, v, err := newest(c, before)
		if err != nil {
			return err
		}
		for ; k != nil && len(entries) < limit; k, v = c.Prev() {
			e, err := readEntry(k, v)
			if err != nil {
				s.skip(k, err)
				continue
			}
			if e.At.Before(since.Add(-auditSkew)) {
				break
			}
			if e.At.Before(since) {
				continue
			}
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	return entries, nil
}

// newest moves to the last entry, or to the last one before that of this ID.
func newest(c *bbolt.Cursor, before string) (k, v []byte, err error) {
	if before != "" {
		n, err := ParseID(before)
		if err != nil {
			return nil, nil, err
		}
		if k, _ := c.Seek(sequence(n)); k != nil {
			k, v = c.Prev()
			return k, v, nil
		}
	}
	k, v = c.Last()
	return k, v, nil
}

func readEntry(k, v []byte) (Entry, error) {
	var e Entry
	if len(k) != 8 {
		return e, fmt.Errorf("its key has %d bytes: want 8", len(k))
	}
	if err := json.Unmarshal(v, &e); err != nil {
		return Entry{}, err
	}
	e.ID = FormatID(binary.BigEndian.Uint64(k))
	e.Override.ID = e.Override.Key.ID()
	if e.Before != nil {
		e.Before.ID = e.Override.ID
	}
	return e, nil
}

func sequence(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// actionOf says what the step from one record to the next is; "" when nothing was
// and is in force.
func actionOf(was, now record) Action {
	switch {
	case now.inForce && was.inForce:
		return Changed
	case now.inForce:
		return Created
	case !was.inForce:
		return ""
	case now.Override.Revoked:
		return Revoked
	default:
		return Expired
	}
}

// Done is an operator's action that is no override.
type Done struct {
	Action  Action
	Service string // of Confirmed
	Key     string // of the others: its fingerprint
	Actor   string
}

// Note adds to the audit what was done. It is not shared with other EDS servers.
func (s *Store) Note(d Done) error {
	_, err := s.write(func(b *batch) error {
		at := moment(b.now)
		b.audit = append(b.audit, Entry{At: at, Action: d.Action, Key: d.Key, Override: Override{
			Key: Key{Service: d.Service}, Stamp: b.clock.next(b.now), Since: at, Actor: d.Actor,
		}})
		return nil
	})
	return err
}

// note adds an entry of an override.
func (b *batch) note(action Action, r, before record) {
	e := Entry{At: moment(b.now), Action: action, Override: r.Override}
	if before.inForce || action == Overtaken {
		e.Before = &before.Override
	}
	b.audit = append(b.audit, e)
}

// auditSize is how much the audit holds.
type auditSize struct {
	first, next uint64 // sequence numbers
	bytes       int64
}

// read opens the audit.
func (a *auditSize) read(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(auditBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(stampsBucket); err != nil {
		return err
	}
	a.first, a.next = 1, 1
	if first, _ := b.Cursor().First(); len(first) == 8 {
		a.first = binary.BigEndian.Uint64(first)
	}
	c := b.Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if len(k) == 8 {
			a.next = binary.BigEndian.Uint64(k) + 1
			break
		}
	}
	if v := tx.Bucket(metaBucket).Get(auditKey); len(v) == 8 {
		a.bytes = int64(binary.BigEndian.Uint64(v))
	}
	return nil
}

// append writes entries, and takes out some that are too many or too old.
func (a *auditSize) append(tx *bbolt.Tx, entries []Entry, now time.Time) error {
	b, stamps := tx.Bucket(auditBucket), tx.Bucket(stampsBucket)
	b.FillPercent = 0.9 // it only grows at the end
	for _, e := range entries {
		v, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := b.Put(sequence(a.next), v); err != nil {
			return err
		}
		if err := stamps.Put([]byte(e.Override.Stamp.String()), nil); err != nil {
			return err
		}
		a.next, a.bytes = a.next+1, a.bytes+int64(len(v))
	}
	if err := a.prune(b, stamps, now, len(entries)+pruneMost); err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(auditKey, binary.BigEndian.AppendUint64(nil, uint64(a.bytes)))
}

// prune takes out most entries at most.
func (a *auditSize) prune(b, stamps *bbolt.Bucket, now time.Time, most int) error {
	for range most {
		k := sequence(a.first)
		v := b.Get(k)
		if v == nil {
			return nil
		}
		e, err := readEntry(k, v)
		if err == nil && a.next-a.first <= maxAudit && a.bytes <= auditBytes && now.Sub(e.At) <= keepAudit {
			return nil
		}
		size := int64(len(v))
		if err := b.Delete(k); err != nil {
			return err
		}
		if err := stamps.Delete([]byte(e.Override.Stamp.String())); err != nil {
			return err
		}
		a.first, a.bytes = a.first+1, a.bytes-size
	}
	return nil
}

// skipped are the entries of the audit that were found to be unreadable.
type skipped struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// maxSkipped bounds how many are remembered; further ones are skipped in silence.
const maxSkipped = 1000

// add reports whether k is news.
func (s *skipped) add(k []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.keys[string(k)]; known || len(s.keys) >= maxSkipped {
		return false
	}
	if s.keys == nil {
		s.keys = make(map[string]struct{})
	}
	s.keys[string(k)] = struct{}{}
	return true
}

// skip notes an entry that cannot be read, once.
func (s *Store) skip(k []byte, err error) {
	if s.skipped.add(k) {
		s.logger.Warn("ignoring an audit entry that cannot be read", "id", fmt.Sprintf("%x", k), "err", err)
		s.unreadable(UnreadableAudit)
	}
}

// knows reports whether the audit has an entry of the override with this stamp.
func (s *Store) knows(stamp Stamp) (known bool) {
	_ = s.db.View(func(tx *bbolt.Tx) error { // at worst there is one entry more
		k, _ := tx.Bucket(stampsBucket).Cursor().Seek([]byte(stamp.String()))
		known = string(k) == stamp.String()
		return nil
	})
	return known
}
