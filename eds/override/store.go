package override

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/bbolt"
)

var bucket = []byte("overrides")

// Store keeps one Override for each service. All methods may be called from any
// goroutine; a write returns after bbolt has synced it to disk.
type Store struct {
	db      *bbolt.DB
	changed chan struct{}

	mu       sync.Mutex // guards what follows; held across a write, so that memory and disk agree
	current  map[string]Override
	revision uint64
}

// NewStore reads the overrides in db. The caller owns db and closes it after the
// last call to the Store.
func NewStore(db *bbolt.DB) (*Store, error) {
	s := &Store{db: db, changed: make(chan struct{}, 1), current: make(map[string]Override)}
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			var o Override
			if err := json.Unmarshal(v, &o); err != nil {
				return fmt.Errorf("manual list of %q: %w", k, err)
			}
			s.current[o.Service] = o
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	return s, nil
}

// Create keeps o unless its service has an override: then it returns ErrExists.
// The revision returned is the first one that o is in.
func (s *Store) Create(o Override) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.current[o.Service]; ok {
		return s.revision, fmt.Errorf("service %q: %w", o.Service, ErrExists)
	}
	return s.put(o)
}

// Replace keeps o in place of whatever its service had.
func (s *Store) Replace(o Override) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(o)
}

// Delete forgets the override of a service, or returns ErrNotFound.
func (s *Store) Delete(service string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.current[service]; !ok {
		return s.revision, fmt.Errorf("service %q: %w", service, ErrNotFound)
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(service)) }); err != nil {
		return s.revision, fmt.Errorf("delete manual list of %q: %w", service, err)
	}
	delete(s.current, service)
	return s.bump(), nil
}

// List returns every override, sorted by service, and the revision they make up.
func (s *Store) List() ([]Override, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.SortedFunc(maps.Values(s.current), func(a, b Override) int { return strings.Compare(a.Service, b.Service) })
	return list, s.revision
}

// Changed receives after List would answer differently. It holds one signal: a
// reader that was away sees one, however many changes there were.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// put writes o, to disk first. The caller holds mu.
func (s *Store) put(o Override) (uint64, error) {
	if err := o.Check(); err != nil {
		return s.revision, err
	}
	o.Hosts = slices.SortedFunc(slices.Values(o.Hosts), func(a, b Host) int { return a.Addr.Compare(b.Addr) })
	v, err := json.Marshal(o)
	if err != nil {
		return s.revision, fmt.Errorf("encode manual list of %q: %w", o.Service, err)
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(o.Service), v) }); err != nil {
		return s.revision, fmt.Errorf("keep manual list of %q: %w", o.Service, err)
	}
	s.current[o.Service] = o
	return s.bump(), nil
}

// bump counts a change and signals it. The caller holds mu.
func (s *Store) bump() uint64 {
	s.revision++
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.revision
}
