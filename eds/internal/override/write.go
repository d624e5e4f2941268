package override

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Edit is a change of one override.
type Edit struct {
	Key           Key
	Actor, Reason string // who makes the change, and why; without a reason that of Change counts

	// IfMatch judges the present tags of the service and of the override, each "" when
	// there is none, right before the change; nil lets every one pass.
	IfMatch func(service, override string) bool

	// Change returns the new override, given the present one. With Revoked it ends the
	// present one, if there is one; ErrUnchanged keeps it. The Store sets Key,
	// ID, Stamp, Actor and Reason, and Since when that is zero. It must not block, and
	// may be called from another goroutine.
	Change func(was Override, exists bool) (Override, error)
}

// ErrUnchanged is what Edit.Change returns to keep an override unchanged.
var ErrUnchanged = errors.New("the override is unchanged")

// Edit changes or ends an override and returns the new one, a tombstone if it was
// ended, with the first revision that it is in: 0 where nothing was to be done. An error
// of Change is returned unwrapped; ErrStale means that IfMatch failed.
func (s *Store) Edit(e Edit) (Override, uint64, error) {
	var made Override
	revision, err := s.write(func(b *batch) error {
		was := b.get(e.Key)
		if err := e.match(b, was); err != nil {
			return err
		}
		if !was.inForce {
			was.Override = Override{Key: e.Key}
		}
		o, err := e.Change(was.Override, was.inForce)
		switch {
		case err != nil:
			return err
		case o.Revoked && !was.inForce:
			return ErrUnchanged
		case o.Revoked:
			o = Override{Revoked: true, Reason: o.Reason}
		}
		o.Key, o.Actor, o.Reason = e.Key, e.Actor, cmp.Or(e.Reason, o.Reason)
		made, err = b.decide(o)
		return err
	})
	if errors.Is(err, ErrUnchanged) {
		return made, 0, nil
	}
	return made, revision, err
}

func (e Edit) match(b *batch, was record) error {
	tag := ""
	if was.inForce {
		tag = was.Tag()
	}
	if e.IfMatch != nil && !e.IfMatch(b.etag(e.Key.Service).String(), tag) {
		return fmt.Errorf("%s: %w", e.Key.Name(), ErrStale)
	}
	return nil
}

// Revoke ends an override, or returns ErrNotFound. ifMatch is as in Edit. What it
// returns is the tombstone.
func (s *Store) Revoke(k Key, actor, reason string, ifMatch func(service, override string) bool) (Override, uint64, error) {
	var made Override
	revision, err := s.write(func(b *batch) error {
		was := b.get(k)
		if err := (Edit{Key: k, IfMatch: ifMatch}).match(b, was); err != nil {
			return err
		}
		if !was.inForce {
			return fmt.Errorf("%s: %w", k.Name(), ErrNotFound)
		}
		var err error
		made, err = b.decide(Override{Key: k, Revoked: true, Actor: actor, Reason: reason})
		return err
	})
	return made, revision, err
}

// write is one change that waits for the disk.
type write struct {
	apply    func(*batch) error // puts nothing when it fails
	heard    bool               // from other servers: it holds though it cannot be written
	err      error
	revision uint64
	done     bool
}

// ErrUnwritten is returned for an override that is in force until this server stops, but is
// not on disk.
var ErrUnwritten = errors.New("it cannot be written, and is in force after a restart only once another server has sent it again")

var errAbandoned = errors.New("the change was abandoned before it was written")

// write applies a change together with those that others queued meanwhile: one
// sync of the disk serves them all.
func (s *Store) write(apply func(*batch) error) (uint64, error) {
	return s.enqueue(&write{apply: apply, err: errAbandoned})
}

func (s *Store) enqueue(w *write) (uint64, error) {
	s.queueing.Lock()
	s.queue = append(s.queue, w)
	s.queueing.Unlock()

	s.writing.Lock()
	defer s.writing.Unlock()
	if !w.done {
		s.queueing.Lock()
		queue := s.queue
		s.queue = nil
		s.queueing.Unlock()
		s.commit(queue)
	}
	return w.revision, w.err
}

// commit writes what is queued to disk, then to memory. The caller holds writing.
func (s *Store) commit(queue []*write) {
	for _, w := range queue {
		w.done = true
	}
	b := s.begin()
	ends := make([]int, len(queue))
	for i, w := range queue {
		w.err = w.apply(b)
		ends[i] = len(b.puts)
	}
	if err := b.save(); err != nil {
		b = s.begin() // what has expired has expired anyway
		for i, w := range queue {
			w.err = fmt.Errorf("store the override: %w", err) // what it was refused for may not be so
			if w.heard {
				w.err = errors.Join(w.apply(b), fmt.Errorf("%w: %w", ErrUnwritten, err))
			}
			ends[i] = len(b.puts)
		}
	}
	first := s.publish(b)
	for i, w := range queue {
		w.revision = first + uint64(min(ends[i], len(b.puts)))
	}
}

// begin begins a batch with the end of what is over.
func (s *Store) begin() *batch {
	b := &batch{store: s, now: s.now(), clock: &s.clock, at: make(map[Key]int), tags: make(map[string]etag), evicted: s.evicted}
	b.expire()
	return b
}

// publish shows what b did and returns the revision before it.
func (s *Store) publish(b *batch) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.revision
	s.evicted = b.evicted
	for _, p := range b.puts {
		if p.forget {
			s.remove(p.Key)
		} else {
			s.put(p.record)
		}
		if p.Stamp.Server == s.clock.server && p.fresh {
			s.fresh = append(s.fresh, p.Override)
		}
	}
	s.fresh = s.fresh[max(0, len(s.fresh)-maxFresh):]
	if b.rescanned {
		s.findExpiry()
	}
	if len(b.puts) > 0 {
		s.revision += uint64(len(b.puts))
		s.changed.Set()
	}
	if len(s.fresh) > 0 {
		s.made.Set()
	}
	return first
}

// batch is what one transaction is to do, on top of what the store has.
type batch struct {
	store *Store
	now   time.Time
	clock *clock
	puts  []put
	at    map[Key]int // the last of puts about a key
	tags  map[string]etag
	keys  int // how many more there are
	force int // how many more are in force
	audit []Entry

	evicted   Stamp   // the highest of what was evicted
	oldest    *oldest // what may be evicted next; nil until there is a need
	rescanned bool    // expired ones were looked for
}

type put struct {
	record
	forget bool // rather than keep
	fresh  bool // made just now
}

// get returns what is known of k; the store's part only its writer changes.
func (b *batch) get(k Key) record {
	if i, ok := b.at[k]; ok {
		if b.puts[i].forget {
			return record{}
		}
		return b.puts[i].record
	}
	return b.store.all[k]
}

func (b *batch) etag(service string) etag {
	if e, ok := b.tags[service]; ok {
		return e
	}
	return b.store.etags[service]
}

// decide stamps and stores an override of this server.
func (b *batch) decide(o Override) (Override, error) {
	o.Stamp = b.clock.next(b.now)
	if o.Since.IsZero() {
		o.Since = moment(b.now)
	}
	o.Left = 0
	o = o.begin(b.now)
	if err := o.Check(); err != nil {
		return Override{}, err
	}
	if err := o.checkSize(); err != nil {
		return Override{}, err
	}
	if err := b.room(o); err != nil {
		return Override{}, err
	}
	return b.take(o, true), nil
}

// take puts o in place of what is known of its key, and into the audit.
func (b *batch) take(o Override, fresh bool) Override {
	o.Hosts = slices.SortedFunc(slices.Values(o.Hosts), func(x, y Host) int { return x.Addr.Compare(y.Addr) })
	was := b.get(o.Key)
	r := record{Override: o, Ended: !o.InForce(b.now) && !o.Revoked}
	b.put(put{record: r.seal(o.InForce(b.now)), fresh: fresh})
	if action := actionOf(was, b.puts[len(b.puts)-1].record); action != "" {
		b.note(action, b.puts[len(b.puts)-1].record, was)
	}
	return b.puts[len(b.puts)-1].Override
}

func (b *batch) put(p put) {
	was := b.get(p.Key)
	if was.Stamp.IsZero() {
		b.keys++
	}
	if p.forget {
		b.keys--
	}
	tag := b.etag(p.Service)
	if was.inForce {
		tag = tag.toggle(was)
		b.force--
	}
	if p.inForce {
		tag = tag.toggle(p.record)
		b.force++
	}
	b.tags[p.Service] = tag
	b.at[p.Key] = len(b.puts)
	b.puts = append(b.puts, p)
	if b.oldest != nil {
		b.age(p)
	}
}

// save writes b to disk, unless there is nothing to write.
func (b *batch) save() error {
	if len(b.puts) == 0 && len(b.audit) == 0 && b.evicted == b.store.evicted {
		return nil
	}
	size := b.store.keptAudit
	err := b.store.db.Update(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(bucket)
		for _, p := range b.puts {
			if p.forget {
				if err := bk.Delete(diskKey(p.Key)); err != nil {
					return err
				}
				continue
			}
			v, err := json.Marshal(p.record)
			if err != nil {
				return err
			}
			if err := bk.Put(diskKey(p.Key), v); err != nil {
				return err
			}
		}
		if err := b.saveEvicted(tx); err != nil {
			return err
		}
		return size.append(tx, b.audit, b.now)
	})
	if err == nil {
		b.store.keptAudit = size
	}
	return err
}

// diskKey sorts by service, then host. That of a list is as it was when there was
// nothing else.
func diskKey(k Key) []byte {
	if k.Host == "" {
		return []byte(k.Service)
	}
	return []byte(k.Service + "\x00" + k.Host)
}
