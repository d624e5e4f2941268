package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

var (
	rememberedBucket = []byte("remembered") // a key for each member: its id

	// Where all of them were under one key, before.
	OldBucket  = []byte("memory")
	membersKey = []byte("members")
)

// UnreadableMember is the kind of a remembered member that cannot be read.
const UnreadableMember = "member"

const (
	memoryEvery = time.Second // between two writes, but for members that are new
	memoryMost  = 10_000      // members
	memoryQueue = 16          // snapshots with new members that wait to be written
)

// Memory keeps the live members on disk, so that a server that restarts finds the
// pool again through them, and knows whom it fed to Envoys. A member is written before
// an Envoy receives it; later changes, and that it left, once a second.
type Memory struct {
	db         override.DB
	self       uuid.UUID // not worth remembering
	unreadable func(kind string)
	logger     *slog.Logger
	latest     latest.Value[*registry.Snapshot]
	fresh      chan newcomers

	// Owned by the loop.
	seen []*fleet.Member // of the last Snapshot

	// Written by recall, then owned by run.
	stored  map[uuid.UUID]*fleet.Member
	old     bool // members are under the one key, too
	failing bool // the last write was in vain
}

// newcomers are members that were not worth remembering before.
type newcomers struct {
	members []*fleet.Member
	done    chan struct{} // closed once they are written, or cannot be
}

func NewMemory(db override.DB, self uuid.UUID, unreadable func(kind string), logger *slog.Logger) *Memory {
	return &Memory{
		db: db, self: self, unreadable: unreadable, logger: logger, latest: latest.New[*registry.Snapshot](),
		fresh: make(chan newcomers, memoryQueue), stored: make(map[uuid.UUID]*fleet.Member),
	}
}

// Recall returns the members that were alive when last seen, EDS servers first:
// those stay longer than upstreams do. What cannot be read is skipped: the pool is
// found through the seeds, too.
func (m *Memory) Recall() ([]*fleet.Member, error) {
	err := m.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(OldBucket); b != nil && b.Get(membersKey) != nil {
			m.old = true
			m.recallOld(b.Get(membersKey))
		}
		b := tx.Bucket(rememberedBucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(_, v []byte) error {
			m.recallOne(v)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read remembered members: %w", err)
	}
	members := slices.Collect(maps.Values(m.stored))
	fleet.SortMembers(members)
	return serversFirst(members), nil
}

func (m *Memory) recallOld(v []byte) {
	var members []json.RawMessage
	if err := json.Unmarshal(v, &members); err != nil {
		m.skip(err)
	}
	for _, v := range members {
		m.recallOne(v)
	}
}

func (m *Memory) recallOne(v []byte) {
	member := new(fleet.Member)
	err := json.Unmarshal(v, member)
	if err == nil && member.ID == uuid.Nil {
		err = errors.New("id is missing")
	}
	if err != nil {
		m.skip(err)
		return
	}
	if len(m.stored) < memoryMost {
		m.stored[member.ID] = member
	}
}

func (m *Memory) skip(err error) {
	m.logger.Warn("ignoring a remembered member that cannot be read from disk", "err", err)
	m.unreadable(UnreadableMember)
}

// serversFirst puts EDS servers first and keeps the order otherwise.
func serversFirst(members []*fleet.Member) []*fleet.Member {
	slices.SortStableFunc(members, func(a, b *fleet.Member) int {
		switch {
		case a.Role == b.Role:
			return 0
		case a.Role == fleet.RoleEDS:
			return -1
		default:
			return 1
		}
	})
	return members
}

// Update hands over a Snapshot. It returns a channel that is closed once the members
// that are new in it are written, or cannot be; nil if none is new. It never blocks;
// only the loop may call it.
func (m *Memory) Update(snap *registry.Snapshot) <-chan struct{} {
	m.latest.Put(snap)
	n := newcomers{members: m.notSeen(snap.Members), done: make(chan struct{})}
	m.seen = snap.Members
	if len(n.members) == 0 {
		return nil
	}
	select {
	case m.fresh <- n:
		return n.done
	default: // they are written with the rest
		return nil
	}
}

// notSeen returns those of members, which are by id, that are worth remembering and
// were not in the Snapshot before.
func (m *Memory) notSeen(members []*fleet.Member) (fresh []*fleet.Member) {
	seen := m.seen
	for _, other := range members {
		if len(seen) > 0 && seen[0] == other { // not looked at: to fetch thousands from memory is what takes long
			seen = seen[1:]
			continue
		}
		for len(seen) > 0 && fleet.CompareIDs(seen[0], other) < 0 {
			seen = seen[1:]
		}
		known := len(seen) > 0 && seen[0].ID == other.ID && m.worthy(seen[0])
		if !known && m.worthy(other) {
			fresh = append(fresh, other)
		}
	}
	return fresh
}

// worthy reports whether a member is alive and another one, of which gossip is sure.
func (m *Memory) worthy(other *fleet.Member) bool {
	return other.Liveness == fleet.Alive && m.rememberable(other)
}

func (m *Memory) rememberable(other *fleet.Member) bool {
	return other.ID != m.self && other.Gossip.IsValid() && other.Quarantine == ""
}

// Run writes until ctx ends. Before gossip has settled the pool is known in part
// only, and what was remembered is worth more: members are added then, and none is
// forgotten.
func (m *Memory) Run(ctx context.Context) {
	var snap *registry.Snapshot // not written yet
	var pause <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-m.fresh:
			m.add(n)
			continue
		case snap = <-m.latest:
		case <-pause:
			pause = nil
		}
		if snap == nil || pause != nil {
			continue
		}
		if !snap.Settled || snap.Isolated || m.replace(m.worthKeeping(snap)) {
			snap = nil
		}
		pause = time.After(memoryEvery)
	}
}

// add writes members that are new, and all others that wait for it, together.
func (m *Memory) add(n newcomers) {
	all := []newcomers{n}
	for len(m.fresh) > 0 {
		all = append(all, <-m.fresh)
	}
	var put []*fleet.Member
	for _, n := range all {
		put = append(put, n.members...)
	}
	put = put[:max(0, min(len(put), memoryMost-len(m.stored)))]
	m.write(put, nil)
	for _, n := range all {
		close(n.done)
	}
}

// replace makes members those that are remembered, and reports whether that went well.
func (m *Memory) replace(members []*fleet.Member) bool {
	keep := make(map[uuid.UUID]bool, len(members))
	var put []*fleet.Member
	for _, other := range members {
		keep[other.ID] = true
		if was := m.stored[other.ID]; was == nil || !was.Equal(other) {
			put = append(put, other)
		}
	}
	var forget []uuid.UUID
	for id := range m.stored {
		if !keep[id] {
			forget = append(forget, id)
		}
	}
	return m.write(put, forget)
}

// write writes what changed, and reports whether that went well.
func (m *Memory) write(put []*fleet.Member, forget []uuid.UUID) bool {
	if len(put)+len(forget) == 0 && !m.old {
		return true
	}
	err := m.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(rememberedBucket)
		if err != nil {
			return err
		}
		if m.old { // its members are written again
			put = slices.Concat(slices.Collect(maps.Values(m.stored)), put)
		}
		return errors.Join(change(b, put, forget), m.dropOld(tx))
	})
	if (err != nil) != m.failing {
		if m.failing = err != nil; m.failing {
			m.logger.Warn("members could not be saved for the next start: check the disk of --data-dir", "err", err)
		} else {
			m.logger.Info("members are saved again")
		}
	}
	if err != nil {
		return false
	}
	m.old = false
	for _, other := range put {
		m.stored[other.ID] = other
	}
	for _, id := range forget {
		delete(m.stored, id)
	}
	return true
}

func change(b *bbolt.Bucket, put []*fleet.Member, forget []uuid.UUID) error {
	for _, other := range put {
		v, err := json.Marshal(other)
		if err == nil {
			err = b.Put(other.ID[:], v)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range forget {
		if err := b.Delete(id[:]); err != nil {
			return err
		}
	}
	return nil
}

// dropOld removes the one key, so that it is not read for newer than the rest.
func (m *Memory) dropOld(tx *bbolt.Tx) error {
	if b := tx.Bucket(OldBucket); b != nil {
		return b.Delete(membersKey)
	}
	return nil
}

// worthKeeping are the other members that are alive, or are served although gossip
// has lost them.
func (m *Memory) worthKeeping(snap *registry.Snapshot) []*fleet.Member {
	served := snap.InService(false)
	var all []*fleet.Member
	for _, other := range snap.Members {
		if m.worthy(other) || m.rememberable(other) && served[other.ID] {
			all = append(all, other)
		}
	}
	return serversFirst(all)[:min(len(all), memoryMost)]
}
