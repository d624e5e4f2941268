package override

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// How long an override that ended is kept: a server that was away for longer brings
// it back. One for a process that has left is needed for a shorter time.
const (
	keepEnded   = 30 * 24 * time.Hour
	keepProcess = 2 * 24 * time.Hour
	forgetMost  = 500 // at a time
)

// Run ends overrides on time, and forgets what ended long ago, until ctx ends. A
// wall clock that was set is noticed within lookEvery. A disk that fails does not
// keep an override from ending.
func (s *Store) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sooner: // something expires earlier than what was waited for
		case <-timer.C:
			if err := s.Expire(); err != nil {
				s.logger.Warn("could not record expired overrides in the audit: check the disk of --data-dir", "err", err)
			}
		}
		timer.Reset(s.untilExpiry())
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

// untilExpiry is how long to wait before something may have ended.
func (s *Store) untilExpiry() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.expiry.wait(s.now())
}

// expire ends what is over.
func (b *batch) expire() {
	s := b.store
	if !s.expiry.over(b.now) {
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

// findExpiry looks for the next moments. The caller holds mu.
func (s *Store) findExpiry() {
	s.expiry = expiry{}
	for _, r := range s.all {
		if r.inForce {
			s.expiry.add(r.Override)
		}
	}
}

// forgotten reports whether o ended so long ago that no server keeps it.
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
