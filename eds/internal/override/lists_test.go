package override

import "fmt"

// What follows are the overrides about lists as the HTTP API makes them.

// Create keeps o unless its key has an override: then it returns ErrExists. The
// revision returned is the first one that o is in.
func (s *Store) Create(o Override) (uint64, error) {
	_, revision, err := s.Edit(Edit{Key: o.Key, Actor: o.Actor, Reason: o.Reason, Change: func(_ Override, exists bool) (Override, error) {
		if exists {
			return Override{}, fmt.Errorf("service %q: %w", o.Service, ErrExists)
		}
		return o, nil
	}})
	return revision, err
}

// Replace keeps o in place of whatever its key had.
func (s *Store) Replace(o Override) (uint64, error) {
	_, revision, err := s.Edit(Edit{Key: o.Key, Actor: o.Actor, Reason: o.Reason, Change: func(Override, bool) (Override, error) { return o, nil }})
	return revision, err
}

// Delete ends the list of a service, or returns ErrNotFound.
func (s *Store) Delete(service string) (uint64, error) {
	_, revision, err := s.Revoke(Key{Service: service}, "", "", nil)
	return revision, err
}
