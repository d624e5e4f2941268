package override

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Merge takes overrides that other servers hold. Of two about one key the one with
// the higher stamp stays, whatever the order in which they come. It returns those
// that are news here, once they are on disk; the error names what was refused and
// does not keep the others out. With ErrUnwritten they hold, too: their operators were
// told so by the server that they asked.
func (s *Store) Merge(others []Override) ([]Override, error) {
	var news []Override
	var refused []error
	_, err := s.enqueue(&write{heard: true, err: errAbandoned, apply: func(b *batch) error {
		news, refused = nil, nil // once more where the disk fails
		for _, o := range others {
			won, err := b.merge(o)
			if err != nil {
				refused = append(refused, fmt.Errorf("%s: %w", o.Key.Name(), err))
			}
			if won {
				news = append(news, b.puts[len(b.puts)-1].Override)
			}
		}
		return nil
	}})
	if err != nil && !errors.Is(err, ErrUnwritten) {
		return nil, err
	}
	return news, errors.Join(err, joinFew(refused))
}

// merge takes o if it is later than what is known.
func (b *batch) merge(o Override) (won bool, err error) {
	if err := errors.Join(o.Stamp.check(b.now), o.Check()); err != nil {
		return false, err
	}
	o = o.begin(b.now)
	was := b.get(o.Key)
	switch c := o.Stamp.Compare(was.Stamp); {
	case c == 0 || o.forgotten(b.now):
		return false, nil
	case c < 0:
		b.overtake(o, was)
		return false, nil
	}
	switch unknown, inForce := was.Stamp.IsZero(), o.InForce(b.now); {
	case unknown && !inForce && b.tooOld(o):
		return false, nil
	case unknown && inForce && b.ended(o):
		err := b.end(o)
		return err == nil, err
	}
	if err := b.room(o); err != nil {
		return false, err
	}
	b.clock.observe(o.Stamp)
	b.take(o, false)
	return true, nil
}

// overtake notes an override that came too late, unless it was known before. Of two
// revocations, such as several servers make when a member has left, one is enough.
func (b *batch) overtake(o Override, by record) {
	if o.Revoked && by.Revoked || b.store.knows(o.Stamp) {
		return
	}
	for _, e := range b.audit {
		if e.Override.Stamp == o.Stamp {
			return
		}
	}
	b.note(Overtaken, record{Override: o}, by)
}

const fewErrors = 3

// joinFew joins errors of which there may be thousands.
func joinFew(errs []error) error {
	if n := len(errs); n > fewErrors {
		errs = append(errs[:fewErrors:fewErrors], fmt.Errorf("and %d more", n-fewErrors))
	}
	return errors.Join(errs...)
}

// Encode writes overrides for another server.
func Encode(list []Override) ([]byte, error) { return json.Marshal(list) }

// Decode reads what Encode wrote, from the network: every override is checked.
func Decode(b []byte) ([]Override, error) {
	var list []Override
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("overrides of another server: %w", err)
	}
	for i, o := range list {
		if err := o.Check(); err != nil {
			return nil, fmt.Errorf("override %d of another server: %w", i, err)
		}
		if o.Stamp.Wall <= 0 {
			return nil, fmt.Errorf("override %d of another server has no stamp", i)
		}
	}
	return list, nil
}
