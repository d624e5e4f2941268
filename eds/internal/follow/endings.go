package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

const (
	endingsEvery = time.Second
	endAfter     = time.Hour // for which a process was dead, or is not known at all
	endedBy      = "rollcall"
)

// Endings revokes the overrides for processes that have left for good. Each EDS
// server does so for itself: whose tombstone wins does not matter.
type Endings struct {
	overrides *override.Store
	logger    *slog.Logger
	latest    latest.Value[*registry.Snapshot]

	// Owned by run.
	unknown map[uuid.UUID]time.Time // since when a process with an override is not known here
}

func NewEndings(overrides *override.Store, logger *slog.Logger) *Endings {
	return &Endings{overrides: overrides, logger: logger, latest: latest.New[*registry.Snapshot](), unknown: make(map[uuid.UUID]time.Time)}
}

// Update hands over a Snapshot. It never blocks; only the loop may call it.
func (e *Endings) Update(snap *registry.Snapshot) {
	e.latest.Put(snap)
}

// Run looks each second until ctx ends. A server that may be partitioned, or does
// not know the pool yet, ends no override.
func (e *Endings) Run(ctx context.Context) {
	snap := &registry.Snapshot{}
	tick := time.NewTicker(endingsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case snap = <-e.latest:
			continue
		case <-tick.C:
		}
		if !snap.Settled || snap.Isolated {
			continue
		}
		for _, over := range e.over(snap, time.Now()) {
			if ctx.Err() != nil || !e.end(over) {
				break
			}
		}
	}
}

// ending is an override to revoke, and why.
type ending struct {
	key    override.Key
	reason string
}

// over lists the overrides for processes that have left.
func (e *Endings) over(snap *registry.Snapshot, now time.Time) []ending {
	list, _ := e.overrides.InForce()
	var over []ending
	unknown := make(map[uuid.UUID]time.Time)
	served := snap.InService(false)
	for _, o := range list {
		id, err := uuid.Parse(o.Host)
		if err != nil {
			continue
		}
		m, known := snap.Member(id)
		since, waiting := e.unknown[id]
		switch {
		case known && m.Liveness == fleet.Left:
			over = append(over, ending{o.Key, "the process has left"})
		case known && m.Liveness == fleet.Dead && now.Sub(m.Since) > endAfter && (!served[id] || o.State == override.Force):
			over = append(over, ending{o.Key, "the process has been dead for an hour"})
		case known:
		case waiting && now.Sub(since) > endAfter:
			over = append(over, ending{o.Key, "the process has been unknown for an hour"})
		case waiting:
			unknown[id] = since
		default:
			unknown[id] = now
		}
	}
	e.unknown = unknown
	return over
}

// end reports whether the disk may take another one.
func (e *Endings) end(over ending) bool {
	_, _, err := e.overrides.Revoke(over.key, endedBy, over.reason, nil)
	switch {
	case errors.Is(err, override.ErrNotFound): // another server, or an operator, was first
	case err != nil:
		e.logger.Warn("override for a process that has left could not be removed; trying again", "service", over.key.Service, "id", over.key.Host, "err", err)
		return false
	default:
		e.logger.Info("override ended", "service", over.key.Service, "id", over.key.Host, "reason", over.reason)
	}
	return true
}
