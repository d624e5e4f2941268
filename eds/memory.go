package eds

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var (
	memoryBucket = []byte("memory")
	membersKey   = []byte("members")
)

const (
	memoryEvery = time.Second // between two writes
	memoryMost  = 1000        // addresses; any one of them leads to the others
)

// memory keeps the gossip addresses of live members on disk, so that a server
// that restarts finds the pool again through them.
type memory struct {
	db     *bbolt.DB
	self   uuid.UUID // not worth remembering
	logger *slog.Logger
	latest chan *registry.Snapshot // capacity one, latest wins

	// Owned by run.
	written []netip.AddrPort
}

func newMemory(db *bbolt.DB, self uuid.UUID, logger *slog.Logger) *memory {
	return &memory{db: db, self: self, logger: logger, latest: make(chan *registry.Snapshot, 1)}
}

// recall returns what was kept before.
func (m *memory) recall() ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	err := m.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(memoryBucket)
		if b == nil || b.Get(membersKey) == nil {
			return nil
		}
		return json.Unmarshal(b.Get(membersKey), &addrs)
	})
	if err != nil {
		return nil, fmt.Errorf("read remembered members: %w", err)
	}
	return addrs, nil
}

// update hands over a Snapshot. It never blocks; only the loop may call it.
func (m *memory) update(snap *registry.Snapshot) {
	select {
	case <-m.latest:
	default:
	}
	m.latest <- snap
}

// run writes until ctx ends. Before gossip has settled the pool is known in part
// only, and what was remembered is worth more.
func (m *memory) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case snap := <-m.latest:
			if !snap.Settled {
				continue
			}
			if err := m.write(m.worthKeeping(snap.Members)); err != nil {
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

func (m *memory) write(addrs []netip.AddrPort) error {
	if slices.Equal(addrs, m.written) {
		return nil
	}
	v, err := json.Marshal(addrs)
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
		m.written = addrs
	}
	return err
}

// worthKeeping prefers EDS servers, which stay longer than upstreams do.
func (m *memory) worthKeeping(members []fleet.Member) []netip.AddrPort {
	var eds, others []netip.AddrPort
	for _, other := range members {
		switch {
		case other.ID == m.self || other.Liveness != fleet.Alive || !other.Gossip.IsValid():
		case other.Role == fleet.RoleEDS:
			eds = append(eds, other.Gossip)
		default:
			others = append(others, other.Gossip)
		}
	}
	all := append(eds, others...)
	return all[:min(len(all), memoryMost)]
}
