package eds

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-fleet/rollcall/eds/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	remindEvery  = 2 * time.Second
	remindAtOnce = 8
)

// remind tells members that gossip has lost although they serve (a death was
// forged, or an update got lost) that they are missing here, until ctx ends, so
// that they come back by themselves.
func remind(ctx context.Context, snapshot func() *registry.Snapshot, tell func(fleet.Member) error, logger *slog.Logger) {
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var g errgroup.Group
		g.SetLimit(remindAtOnce)
		for _, m := range missing(snapshot()) {
			g.Go(func() error {
				if err := tell(m); err != nil {
					logger.Debug("a member that gossip has lost could not be told", "id", m.ID, "gossip", m.Gossip, "error", err)
				}
				return nil
			})
		}
		_ = g.Wait() // each attempt has its own error
	}
}

// missing returns the members that gossip holds to be dead and that are served,
// since their probes have good answers.
func missing(snap *registry.Snapshot) []fleet.Member {
	var dead []fleet.Member
	for _, m := range snap.Members {
		if m.Liveness != fleet.Dead || m.Role != fleet.RoleUpstream {
			continue
		}
		s, _ := snap.Find(m.Service)
		for _, h := range s.Hosts {
			if h.ID == m.ID.String() && h.Served && !h.Held {
				dead = append(dead, m)
			}
		}
	}
	return dead
}
