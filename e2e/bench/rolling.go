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

// The rows of rolling out. What each must reach is in its want.
func rollingRows() []row {
	return []row{
		{name: "rolling restart of 10, three rounds, 500 requests/s, no retries → failed", want: wantZero, unit: count, most: 1, setup: roll},
		{name: "the same, two EDS servers and Envoys, one server restarted → failed", want: wantZero, unit: count, most: 1, setup: rollPair},
		{name: "SIGTERM, idle → port closed, delta-ads", want: wantMax(100 * time.Millisecond), most: 30, setup: drain(false)},
		{name: "SIGTERM, idle → process gone", want: wantMax(2 * time.Second), most: 10, setup: drain(true)},
		{name: "SIGTERM with a 2 s request in flight, answered → process gone", want: wantMax(4 * time.Second), most: 5, setup: inFlight},
		{name: "100 upstreams started together → all have answered through Envoy", want: wantMax(2 * time.Second), most: 3, setup: crowd(false)},
		{name: "100 upstreams started together → updates of Envoy", want: wantCount(100), unit: count, most: 3, setup: crowd(true)},
	}
}

func roll(ctx context.Context, f *stage.Fleet) (trial, error) {
	fleet, err := faults.NewFleet(ctx, f, "delta-ads", 10, "--no-retries")
	return func(ctx context.Context) (time.Duration, error) {
		loads := faults.StartLoads(ctx, 500, f.Addresses.Listener)
		for range 3 {
			if _, err := fleet.Roll(ctx); err != nil {
				loads.Stop()
				return 0, err
			}
		}
		return lost(loads)
	}, err
}

// lost stops the loads and tells what became of them.
func lost(loads faults.Loads) (time.Duration, error) {
	made, failed := loads.Stop()
	fmt.Fprintf(os.Stderr, "%d requests, %d failed %v\n", made, len(failed), errors.Join(failed[:min(len(failed), 5)]...))
	return counted(len(failed)), nil
}

func rollPair(ctx context.Context, f *stage.Fleet) (trial, error) {
	addrs, err := stage.Fresh()
	if err != nil {
		return nil, err
	}
	second := stage.NewFleet(stage.Options{Binary: f.Binary, Envoy: f.Options.Envoy, Dir: f.Dir, Addresses: addrs, Pool: f.Pool})
	pair, err := faults.NewPair(ctx, f, second, 10)
	if err != nil {
		second.Kill()
		return nil, err
	}
	return func(ctx context.Context) (time.Duration, error) {
		defer second.Kill()
		loads := faults.StartLoads(ctx, 250, f.Addresses.Listener, addrs.Listener)
		restarted := make(chan error, 1)
		go func() {
			old := second.Processes()[0]
			err := old.Stop(ctx)
			if err == nil {
				_, err = second.EDS(ctx, "--join", f.Addresses.Gossip)
			}
			restarted <- err
		}()
		for range 3 {
			if _, err := pair.Roll(ctx, second.Admin); err != nil {
				loads.Stop()
				return 0, err
			}
		}
		if err := <-restarted; err != nil {
			return 0, err
		}
		return lost(loads)
	}, nil
}

func drain(untilGone bool) setup {
	return func(ctx context.Context, f *stage.Fleet) (trial, error) {
		fleet, err := faults.NewFleet(ctx, f, "delta-ads", 3, "--no-retries")
		return func(ctx context.Context) (time.Duration, error) {
			if err := fleet.Fill(ctx, 3); err != nil {
				return 0, err
			}
			closed, gone, err := fleet.Drain(ctx)
			if untilGone {
				return gone, err
			}
			return closed, err
		}, err
	}
}

func inFlight(ctx context.Context, f *stage.Fleet) (trial, error) {
	fleet, err := faults.NewFleet(ctx, f, "delta-ads", 0, "--no-retries")
	return func(ctx context.Context) (time.Duration, error) { return fleet.DrainInFlight(ctx) }, err
}

func crowd(updates bool) setup {
	return func(ctx context.Context, f *stage.Fleet) (trial, error) {
		fleet, err := faults.NewFleet(ctx, f, "delta-ads", 0, "--no-retries")
		return func(ctx context.Context) (time.Duration, error) {
			took, n, err := fleet.Crowd(ctx, 100)
			if updates {
				return counted(n), err
			}
			return took, err
		}, err
	}
}
