package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// The rows of EDS servers that restart while their upstreams live: two of each, of one
// trial.
func restartRows() (all []row) {
	for _, upstreams := range []int{5, 50} {
		for _, r := range faults.Restarts(upstreams) {
			all = append(all,
				row{name: r.String() + " → failed", want: wantZero, unit: count, most: 1, setup: lapse(r, failedOf)},
				row{name: r.String() + " → endpoints missing in Envoy", want: wantZero, unit: count, most: 1, setup: lapse(r, missingOf)},
			)
		}
	}
	return all
}

func failedOf(_ faults.Restart, saw faults.Restarted) int { return len(saw.Failed) }

func missingOf(r faults.Restart, saw faults.Restarted) int { return r.Upstreams - saw.Fewest }

func lapse(r faults.Restart, figure func(faults.Restart, faults.Restarted) int) setup {
	return func(_ context.Context, f *stage.Fleet) (trial, error) {
		return func(ctx context.Context) (time.Duration, error) {
			saw, err := r.Run(ctx, f)
			fmt.Fprintf(os.Stderr, "%d requests, %d failed %v, at least %d endpoints in Envoy, all served again after %s\n",
				saw.Requests, len(saw.Failed), errors.Join(saw.Failed[:min(len(saw.Failed), 3)]...), saw.Fewest, saw.Took.Round(time.Millisecond))
			return counted(figure(r, saw)), err
		}, nil
	}
}
