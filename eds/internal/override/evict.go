package override

import (
	"container/heap"
	"fmt"

	"go.etcd.io/bbolt"
)

// What has ended is kept, so that a server that was away does not bring it back, and there
// are as many places for it as for what is in force. Once they are taken, the oldest is dropped,
// and its stamp is noted: an override that is unknown here and not later than that may be
// one that has ended, and is taken as such.

// evictedKey is where the highest stamp of what was evicted is kept, in metaBucket.
var evictedKey = []byte("evicted")

// forgottenActor and forgottenReason are of the tombstones that are made for those.
const (
	forgottenActor  = "rollcall"
	forgottenReason = "it is older than overrides that ended and are not remembered any more: make it again if it is still wanted"
)

// room makes room for o, or reports that there is none.
func (b *batch) room(o Override) error {
	was := b.get(o.Key)
	if !was.inForce && o.InForce(b.now) && b.store.force+b.force >= b.store.most {
		return fmt.Errorf("%s: %w: %d are in force", o.Key.Name(), ErrFull, b.store.most)
	}
	if was.Stamp.IsZero() && b.full() {
		b.evict()
	}
	return nil
}

// full reports whether something must be dropped before another key is added. There is something
// that has ended then, since no more than half of the places may be in force.
func (b *batch) full() bool { return len(b.store.all)+b.keys >= 2*b.store.most }

// evict forgets the oldest of what has ended.
func (b *batch) evict() {
	if r, ok := b.eldest(); ok {
		heap.Pop(b.oldest)
		b.put(put{record: r, forget: true})
		b.noteEvicted(r.Stamp)
	}
}

func (b *batch) noteEvicted(s Stamp) {
	if b.evicted.Compare(s) < 0 {
		b.evicted = s
	}
}

// eldest is the oldest of what has ended, and the first in the heap.
func (b *batch) eldest() (record, bool) {
	if b.oldest == nil {
		b.oldest = new(oldest)
		for k, r := range b.store.all {
			if _, changed := b.at[k]; !changed && !r.inForce {
				*b.oldest = append(*b.oldest, r)
			}
		}
		heap.Init(b.oldest)
		for _, p := range b.puts {
			b.age(p)
		}
	}
	for b.oldest.Len() > 0 {
		r := (*b.oldest)[0]
		if now := b.get(r.Key); now.Stamp == r.Stamp && !now.inForce {
			return r, true
		}
		heap.Pop(b.oldest) // it was changed, or forgotten, in this batch
	}
	return record{}, false
}

// tooOld reports whether o, which has ended and is unknown here, would be the first to go.
// It is dropped at once then, so that servers forget the same in any order of messages.
func (b *batch) tooOld(o Override) bool {
	if b.ended(o) {
		return true
	}
	r, ok := b.eldest()
	if !b.full() || !ok || o.Stamp.Compare(r.Stamp) > 0 {
		return false
	}
	b.noteEvicted(o.Stamp)
	return true
}

// age has p among what may be evicted, if it has ended.
func (b *batch) age(p put) {
	if !p.forget && !p.inForce {
		heap.Push(b.oldest, p.record)
	}
}

// oldest is a heap of what has ended.
type oldest []record

func (o oldest) Len() int           { return len(o) }
func (o oldest) Less(i, j int) bool { return o[i].Stamp.Compare(o[j].Stamp) < 0 }
func (o oldest) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *oldest) Push(x any)        { *o = append(*o, x.(record)) }

func (o *oldest) Pop() any {
	last := len(*o) - 1
	r := (*o)[last]
	*o = (*o)[:last]
	return r
}

// ended reports whether an override that is unknown here may be one that has ended.
func (b *batch) ended(o Override) bool { return o.Stamp.Compare(b.evicted) <= 0 }

// end makes a tombstone for o, which another server has in force, so that it ends there.
func (b *batch) end(o Override) error {
	b.clock.observe(o.Stamp)
	tombstone, err := b.decide(Override{Key: o.Key, Revoked: true, Actor: forgottenActor, Reason: forgottenReason})
	if err == nil {
		b.note(Overtaken, record{Override: o}, record{Override: tombstone})
	}
	return err
}

// saveEvicted writes what batches need after a restart.
func (b *batch) saveEvicted(tx *bbolt.Tx) error {
	if b.evicted == b.store.evicted {
		return nil
	}
	return tx.Bucket(metaBucket).Put(evictedKey, []byte(b.evicted.String()))
}

func (s *Store) readEvicted(meta *bbolt.Bucket) {
	if v := meta.Get(evictedKey); v != nil {
		if stamp, err := ParseStamp(string(v)); err == nil {
			s.evicted = stamp
		} else {
			s.unreadable(UnreadableOverride)
		}
	}
}
