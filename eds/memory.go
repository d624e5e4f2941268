package eds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/latest"
	"github.com/rollcall-fleet/rollcall/eds/override"
	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var (
	memoryBucket = []byte("memory")
	membersKey   = []byte("members")
)

// unreadableMember is the kind of a remembered member that cannot be read.
const unreadableMember = "member"

const (
	memoryEvery = time.Second // between two writes
	memoryMost  = 10_000      // members
)

// memory keeps the live members on disk, so that a server that restarts finds the
// pool again through them, and knows whom it fed to Envoys.
type memory struct {
	db         override.DB
	self       uuid.UUID // not worth remembering
	unreadable func(kind string)
	logger     *slog.Logger
	latest     latest.Value[*registry.Snapshot]

	// Written by recall, then owned by run.
	written []*fleet.Member
}

func newMemory(db override.DB, self uuid.UUID, unreadable func(kind string), logger *slog.Logger) *memory {
	return &memory{db: db, self: self, unreadable: unreadable, logger: logger, latest: latest.New[*registry.Snapshot]()}
}

// recall returns the members that were alive when last seen, EDS servers first:
// those stay longer than upstreams do. What cannot be read is skipped: the pool is
// found through the seeds, too.
func (m *memory) recall() ([]*fleet.Member, error) {
	var stored []json.RawMessage
	err := m.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(memoryBucket)
		if b == nil || b.Get(membersKey) == nil {
			return nil
		}
		if err := json.Unmarshal(b.Get(membersKey), &stored); err != nil {
			m.skip(err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read remembered members: %w", err)
	}
	for _, v := range stored {
		member := new(fleet.Member)
		err := json.Unmarshal(v, member)
		if err == nil && member.ID == uuid.Nil {
			err = errors.New("it has no id")
		}
		if err != nil {
			m.skip(err)
			continue
		}
		m.written = append(m.written, member)
	}
	return m.written, nil
}

func (m *memory) skip(err error) {
	m.logger.Warn("a remembered member on disk cannot be read and is left out", "error", err)
	m.unreadable(unreadableMember)
}

// addresses are where members gossip.
func addresses(members []*fleet.Member) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, m := range members {
		addrs = append(addrs, m.Gossip)
	}
	return addrs
}

// update hands over a Snapshot. It never blocks; only the loop may call it.
func (m *memory) update(snap *registry.Snapshot) {
	m.latest.Put(snap)
}

// run writes until ctx ends. Before gossip has settled the pool is known in part
// only, and what was remembered is worth more.
func (m *memory) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case snap := <-m.latest:
			if !snap.Settled || snap.Isolated {
				continue
			}
			if err := m.write(m.worthKeeping(snap)); err != nil {
				m.logger.Warn("members are not remembered for the next start", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(memoryEvery):
		}
	}
}

func (m *memory) write(members []*fleet.Member) error {
	if slices.EqualFunc(members, m.written, (*fleet.Member).Equal) {
		return nil
	}
	v, err := json.Marshal(members)
	if err != nil {
		return err
	}
	err = m.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(memoryBucket)
		if err != nil {
			return err
		}
		return b.Put(membersKey, v)
	})
	if err == nil {
		m.written = members
	}
	return err
}

// worthKeeping are the other members that are alive, or are served although gossip
// has lost them.
func (m *memory) worthKeeping(snap *registry.Snapshot) []*fleet.Member {
	served := servedIDs(snap)
	var servers, others []*fleet.Member
	for _, other := range snap.Members {
		switch {
		case other.ID == m.self || !other.Gossip.IsValid() || other.Quarantine != "":
		case other.Liveness != fleet.Alive && !served[other.ID.String()]:
		case other.Role == fleet.RoleEDS:
			servers = append(servers, other)
		default:
			others = append(others, other)
		}
	}
	all := append(servers, others...)
	return all[:min(len(all), memoryMost)]
}

// servedIDs are the ids of all members that are served, held ones too.
func servedIDs(snap *registry.Snapshot) map[string]bool {
	ids := make(map[string]bool)
	for _, s := range snap.Services {
		for _, h := range s.Hosts {
			if h.Served {
				ids[h.ID] = true
			}
		}
	}
	return ids
}
