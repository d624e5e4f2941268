package faults

import (
	"context"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// loses watches Envoy for d and returns how many of n endpoints it lost: the most
// that were missing when it was asked, or one when none was and Envoy's own
// counter says that hosts came or went.
func loses(ctx context.Context, envoy *stage.Admin, n int, d time.Duration) (lost int, err error) {
	before, err := envoy.Changes(ctx, stage.Backend)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		hosts, err := envoy.Healthy(ctx, stage.Backend)
		if err != nil {
			return lost, err
		}
		lost = max(lost, n-len(hosts))
		select {
		case <-ctx.Done():
			return lost, ctx.Err()
		case <-tick.C:
		}
	}
	after, err := envoy.Changes(ctx, stage.Backend)
	if after != before {
		lost = max(lost, 1)
	}
	return lost, err
}
