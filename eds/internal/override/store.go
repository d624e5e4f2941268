package override

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"go.etcd.io/bbolt"
)

// format is that of the records. A database without one has it, too; one with
// another is refused.
const format = "1"

// DefaultMaxInForce is how many overrides may be in force unless Options say
// otherwise. As many again may be kept that have ended.
const DefaultMaxInForce = 10_000

var (
	bucket     = []byte("overrides") // by diskKey
	metaBucket = []byte("overrides-meta")
	serverKey  = []byte("server")
	formatKey  = []byte("format")
)

// Options are the parts of a Store.
type Options struct {
	Server uuid.UUID        // stamps overrides; zero: one that is made once and kept in the db
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: none

	MaxInForce int // 0 stands for DefaultMaxInForce

	Unreadable func(kind string) // called for each record on disk that is skipped since it cannot be read; may be nil
}

// What a record that cannot be read is of.
const (
	UnreadableOverride = "override"
	UnreadableAudit    = "audit"
)

// DB is where a Store keeps its records.
type DB interface {
	View(func(*bbolt.Tx) error) error
	Update(func(*bbolt.Tx) error) error
}

// BucketNames are those of the buckets that a Store keeps in its DB.
func BucketNames() []string {
	return []string{string(bucket), string(metaBucket), string(auditBucket), string(stampsBucket)}
}

// Store keeps the newest override about each key. All methods may be called from
// any goroutine but for Run and Made, which have one owner; a write returns after
// bbolt has synced it to disk.
type Store struct {
	db      DB
	now     func() time.Time
	logger  *slog.Logger
	most    int // in force; twice as many with those that ended
	changed latest.Signal
	made    latest.Signal
	sooner  latest.Signal // expiry has moved ahead

	unreadable func(kind string)
	skipped    skipped

	queueing sync.Mutex // guards queue
	queue    []*write

	// writing is held by the one that writes what is queued. What follows is its own.
	writing   sync.Mutex
	clock     clock
	keptAudit auditSize
	evicted   Stamp // see evict.go

	mu       sync.RWMutex // guards what follows; the writer alone changes it
	all      map[Key]record
	byID     map[string]Key
	force    int             // records that are in force
	etags    map[string]etag // of the services
	buckets  Digest          // see Digest
	stale    map[Key]bool    // what has changed since sorted was made
	sorted   []Override      // in force; replaced, never written
	expiry   expiry          // nothing expires before
	revision uint64
	fresh    []Override // made here and not taken yet
}

// record is what a Store holds about a key.
type record struct {
	Override
	Ended bool `json:",omitempty"` // it expired, and the audit says so

	inForce bool
	sum     [sha256.Size]byte // of key and stamp
}

// NewStore reads the overrides in db. The caller owns db and closes it after the
// last call to the Store.
func NewStore(db DB, opts Options) (*Store, error) {
	s := &Store{
		db: db, now: opts.Now, logger: opts.Logger, most: cmp.Or(opts.MaxInForce, DefaultMaxInForce), changed: latest.NewSignal(), made: latest.NewSignal(), sooner: latest.NewSignal(), clock: clock{server: opts.Server},
		all: make(map[Key]record), byID: make(map[string]Key), etags: make(map[string]etag), stale: make(map[Key]bool),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.unreadable = opts.Unreadable; s.unreadable == nil {
		s.unreadable = func(string) {}
	}
	if err := db.Update(s.read); err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	return s, nil
}

// read fills an empty s from disk.
func (s *Store) read(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	if v := meta.Get(formatKey); v != nil && string(v) != format {
		return fmt.Errorf("the database has format %.20q, written by a newer version of rollcall: want %q", v, format)
	}
	if err := s.readServer(meta); err != nil {
		return err
	}
	s.readEvicted(meta)
	if err := s.keptAudit.read(tx); err != nil {
		return err
	}
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	return b.ForEach(func(k, v []byte) error {
		r, err := readRecord(k, v, s.clock.server)
		if err != nil {
			service, host, _ := strings.Cut(string(k), "\x00")
			s.logger.Error("ignoring an override that cannot be read from disk: set it again, unless another EDS server has it",
				"service", service, "endpoint", host, "err", err)
			s.unreadable(UnreadableOverride)
			return nil
		}
		s.clock.observe(r.Stamp)
		r.Override = r.begin(s.now())
		s.put(r.seal(!r.Ended && !r.Revoked))
		return nil
	})
}

// readRecord reads what save wrote. v is nil for a bucket in the place of a record.
func readRecord(k, v []byte, self uuid.UUID) (record, error) {
	var r record
	if err := json.Unmarshal(v, &r); err != nil {
		return r, err
	}
	if !bytes.Equal(diskKey(r.Key), k) {
		return r, fmt.Errorf("its key does not match its contents, which name the %s", r.Key.Name())
	}
	if r.Stamp.IsZero() { // written before overrides were stamped
		r.Stamp = Stamp{Wall: max(r.Since.UnixMilli(), 1), Server: self}
	}
	return r, r.Check()
}

// readServer finds the id that this data directory stamps with.
func (s *Store) readServer(meta *bbolt.Bucket) error {
	if s.clock.server != uuid.Nil {
		return nil
	}
	if id, err := uuid.FromBytes(meta.Get(serverKey)); err == nil {
		s.clock.server = id
		return nil
	}
	s.clock.server = uuid.New()
	return meta.Put(serverKey, s.clock.server[:])
}

// seal fills in what is derived.
func (r record) seal(inForce bool) record {
	r.ID, r.inForce = r.Key.ID(), inForce
	r.sum = sha256.Sum256([]byte(r.Service + "\x00" + r.Host + "\x00" + r.Stamp.String()))
	return r
}

// put replaces what is known of r's key. The caller holds mu.
func (s *Store) put(r record) {
	s.remove(r.Key)
	s.all[r.Key], s.byID[r.ID] = r, r.Key
	s.count(r, 1)
	if r.inForce && s.expiry.add(r.Override) {
		s.sooner.Set()
	}
}

// remove forgets what is known of a key. The caller holds mu.
func (s *Store) remove(k Key) {
	if r, ok := s.all[k]; ok {
		s.count(r, -1)
		delete(s.all, k)
		delete(s.byID, r.ID)
	}
}

// count adds r to the sums, or takes it out.
func (s *Store) count(r record, by int) {
	s.buckets[BucketOf(r.Key)] ^= r.hash()
	if r.inForce {
		s.force += by
		s.etags[r.Service] = s.etags[r.Service].toggle(r)
		if s.etags[r.Service] == (etag{}) {
			delete(s.etags, r.Service)
		}
	}
	s.stale[r.Key] = true
}

// InForce returns the overrides in force, sorted by service, then host, and the
// revision that they make up. Callers must not modify the result.
func (s *Store) InForce() ([]Override, uint64) {
	s.mu.RLock()
	sorted, revision, fresh := s.sorted, s.revision, len(s.stale) == 0
	s.mu.RUnlock()
	if fresh {
		return sorted, revision
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sort()
	return s.sorted, s.revision
}

const fewStale = 32 // above, sorting everything is cheaper

// sort brings sorted up to date. The caller holds mu.
func (s *Store) sort() {
	if len(s.stale) > fewStale {
		s.sorted = make([]Override, 0, s.force)
		for _, r := range s.all {
			if r.inForce {
				s.sorted = append(s.sorted, r.Override)
			}
		}
		slices.SortFunc(s.sorted, func(a, b Override) int { return a.Compare(b.Key) })
	} else if len(s.stale) > 0 {
		s.sorted = slices.Clone(s.sorted)
		for k := range s.stale {
			s.place(k)
		}
	}
	clear(s.stale)
}

// place brings one key of sorted up to date.
func (s *Store) place(k Key) {
	i, found := slices.BinarySearchFunc(s.sorted, k, func(o Override, k Key) int { return o.Compare(k) })
	r := s.all[k]
	switch {
	case found && r.inForce:
		s.sorted[i] = r.Override
	case found:
		s.sorted = slices.Delete(s.sorted, i, i+1)
	case r.inForce:
		s.sorted = slices.Insert(s.sorted, i, r.Override)
	}
}

// Get returns the override in force that has this id.
func (s *Store) Get(id string) (Override, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.byID[id]
	r := s.all[k]
	return r.Override, ok && r.inForce
}

// Changed receives after InForce would answer differently. It holds one signal: a
// reader that was away sees one, however many changes there were.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Made receives after an override was made at this server. It holds one signal.
func (s *Store) Made() <-chan struct{} { return s.made }

// maxFresh bounds what is not taken yet; what is dropped, Digest finds.
const maxFresh = 4096

// TakeMade returns the overrides made at this server since it was last called, the
// latest maxFresh at most. It has one caller.
func (s *Store) TakeMade() []Override {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, now := s.fresh, s.now()
	s.fresh = nil
	for i := range fresh {
		fresh[i] = fresh[i].withLeft(now)
	}
	return fresh
}
