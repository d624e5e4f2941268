package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// bystanders are the upstreams that stay while another one goes.
const bystanders = 2

// sigtermRow measures from SIGTERM to the last request that was sent and reached
// the upstream.
var sigtermRow = deathRow("SIGTERM → last request to it", func(ctx context.Context, u *stage.Upstream) error {
	return u.Stop(ctx)
})

func deathRow(name string, end func(context.Context, *stage.Upstream) error) row {
	return row{name: name, most: 30, setup: func(ctx context.Context, f *stage.Fleet) (trial, error) {
		if err := startFleet(ctx, f, "grpc"); err != nil {
			return nil, err
		}
		for range bystanders {
			if _, err := startUpstream(ctx, f); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context) (time.Duration, error) { return dies(ctx, f, end) }, nil
	}}
}

func dies(ctx context.Context, f *stage.Fleet, end func(context.Context, *stage.Upstream) error) (time.Duration, error) {
	u, err := startUpstream(ctx, f)
	if err != nil {
		return 0, err
	}
	return diesAs(ctx, f, u, end)
}

// diesAs ends u, and returns when the last request was sent to it.
func diesAs(ctx context.Context, f *stage.Fleet, u *stage.Upstream, end func(context.Context, *stage.Upstream) error) (time.Duration, error) {
	load := poll(ctx, f)
	defer load.Stop()
	if _, err := load.First(ctx, from(u.ID)); err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := end(ctx, u); err != nil {
		return 0, err
	}
	err := stage.Eventually(ctx, func(ctx context.Context) error {
		ports, err := f.Admin.Hosts(ctx, stage.Backend)
		if err == nil && slices.Contains(ports, u.Port) {
			err = fmt.Errorf("envoy still has port %d", u.Port)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	answers, err := finish(ctx, load)
	// The others are well: a request that failed had gone to the one that ended.
	return lastOf(answers, asked, func(a stage.Answer) bool { return a.ID() == u.ID || a.Failure() != nil }), err
}
