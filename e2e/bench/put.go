package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// putRow measures from the moment a PUT is sent until Envoy follows: the host that
// is now the only one on the list has answered, and no request goes to the other.
func putRow(api string, want wanted) row {
	name := "PUT → Envoy follows, over " + api
	if api == "rest" {
		name += " (refresh_delay 0.1 s)"
	}
	return row{name: name, want: want, most: 30, setup: func(ctx context.Context, f *stage.Fleet) (trial, error) {
		if err := startFleet(ctx, f, api); err != nil {
			return nil, err
		}
		var pair [2]*stage.Upstream
		for i := range pair {
			u, err := startUpstream(ctx, f, "--service", "other")
			if err != nil {
				return nil, err
			}
			pair[i] = u
		}
		now, next := pair[0], pair[1]
		if err := decide(ctx, f, http.MethodPost, now, http.StatusCreated); err != nil {
			return nil, err
		}
		err := stage.Eventually(ctx, func(ctx context.Context) error { return f.Client.ExpectIDs(ctx, now.ID) })
		return func(ctx context.Context) (time.Duration, error) {
			took, err := follows(ctx, f, now, next)
			now, next = next, now
			return took, err
		}, err
	}}
}

func follows(ctx context.Context, f *stage.Fleet, now, next *stage.Upstream) (time.Duration, error) {
	load := poll(ctx, f)
	defer load.Stop()
	if _, err := load.First(ctx, from(now.ID)); err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := decide(ctx, f, http.MethodPut, next, http.StatusOK); err != nil {
		return 0, err
	}
	first, err := load.First(ctx, from(next.ID))
	if err != nil {
		return 0, err
	}
	answers, err := finish(ctx, load)
	if failed := answers.Failed(); err == nil && len(failed) > 0 {
		err = fmt.Errorf("%d requests failed, the first: %w", len(failed), failed[0].Failure())
	}
	return max(first.Got.Sub(asked), lastOf(answers, asked, from(now.ID))), err
}

func decide(ctx context.Context, f *stage.Fleet, method string, u *stage.Upstream, want int) error {
	_, err := f.API.Expect(ctx, want, method, "/edsservice/"+f.Service, stage.HostList(u.Port))
	return err
}
