package follow

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	remindEvery  = 2 * time.Second
	remindAtOnce = 16 // each takes the profile's TCP timeout at most, and so does the end
)

// Remind notifies members that gossip has lost although they serve (a death was
// forged, or an update got lost) that they are missing here, until ctx ends, so
// that they come back by themselves.
func Remind(ctx context.Context, snapshot func() *registry.Snapshot, tell func(*fleet.Member) error, logger *slog.Logger) {
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
		lost := missing(snapshot())
		rand.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
		var g errgroup.Group
		for _, m := range lost[:min(len(lost), remindAtOnce)] { // the others follow
			g.Go(func() error {
				if err := tell(m); err != nil {
					logger.Debug("could not notify a member that gossip lost", "id", m.ID, "gossip", m.Gossip, "err", err)
				}
				return nil
			})
		}
		_ = g.Wait() // each attempt has its own error
	}
}

// missing returns the members that gossip holds to be dead and that are served,
// since their probes have good answers.
func missing(snap *registry.Snapshot) []*fleet.Member {
	heard := snap.InService(true)
	var dead []*fleet.Member
	for _, m := range snap.Members {
		if m.Liveness == fleet.Dead && m.Role == fleet.RoleUpstream && heard[m.ID] {
			dead = append(dead, m)
		}
	}
	return dead
}
