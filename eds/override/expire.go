package override

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// How long a decision that ended is kept: a server that was away for longer brings
// it back. One about a process that is gone matters to nobody much sooner.
const (
	keepEnded   = 30 * 24 * time.Hour
	keepProcess = 2 * 24 * time.Hour
	forgetEvery = time.Minute
	forgetMost  = 500 // at a time
)

// Run ends decisions on time, and forgets what ended long ago, until ctx ends. A
// disk that fails does not keep a decision from ending.
func (s *Store) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sooner: // something expires earlier than what was waited for
		case <-timer.C:
			_ = s.Expire() // said by the write that fails next; what ended is out all the same
		}
		wait := forgetEvery
		if next := s.NextExpiry(); !next.IsZero() {
			wait = min(wait, max(next.Sub(s.now()), 0))
		}
		timer.Reset(wait)
	}
}

// Expire ends what is over now and forgets some of what ended long ago.
func (s *Store) Expire() error {
	_, err := s.write(func(b *batch) error {
		b.forget()
		return nil
	})
	return err
}

// forget drops what ended long ago.
func (b *batch) forget() {
	for _, r := range b.store.all {
		if !r.inForce && r.forgotten(b.now) && b.get(r.Key).Stamp == r.Stamp {
			if b.put(put{record: r, forget: true}); len(b.puts) >= forgetMost {
				return
			}
		}
	}
}

// NextExpiry is the moment before which nothing expires; zero for never.
func (s *Store) NextExpiry() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.expiry
}

// expire ends what is over.
func (b *batch) expire() {
	s := b.store
	if s.expiry.IsZero() || b.now.Before(s.expiry) {
		return
	}
	b.rescanned = true
	for _, r := range s.all {
		if r.inForce && !r.InForce(b.now) {
			ended := r
			ended.Ended, ended.inForce = true, false
			b.put(put{record: ended})
			b.note(Expired, ended, r)
		}
	}
}

// findExpiry looks for the next moment. The caller holds mu.
func (s *Store) findExpiry() {
	s.expiry = time.Time{}
	for _, r := range s.all {
		if r.inForce && !r.Until.IsZero() && (s.expiry.IsZero() || r.Until.Before(s.expiry)) {
			s.expiry = r.Until
		}
	}
}

// forgotten reports whether o ended so long ago that nobody keeps it.
func (o Override) forgotten(now time.Time) bool {
	if o.InForce(now) {
		return false
	}
	end, keep := o.Until, keepEnded
	if o.Revoked {
		end = time.UnixMilli(o.Stamp.Wall)
	}
	if _, err := uuid.Parse(o.Host); err == nil {
		keep = keepProcess
	}
	return now.Sub(end) > keep
}
