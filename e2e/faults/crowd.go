package faults

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Crowd starts n upstreams at once and returns how long it took until each had
// answered a request through Envoy, and how many updates Envoy got meanwhile. It
// kills them afterwards.
func (f *Fleet) Crowd(ctx context.Context, n int) (took time.Duration, updates int, err error) {
	before, err := f.Admin.Updates(ctx, stage.Backend)
	if err != nil {
		return 0, 0, err
	}
	ports := make([]int, n)
	for i := range ports {
		if ports[i], err = stage.FreePort(); err != nil {
			return 0, 0, err
		}
	}
	since := time.Now()
	var all []*stage.Process
	defer func() {
		for _, p := range all {
			p.Kill()
		}
	}()
	for _, port := range ports {
		p, err := f.StartUpstream(port)
		if err != nil {
			return 0, 0, err
		}
		all = append(all, p)
	}
	if err := f.has(ctx, n); err != nil {
		return 0, 0, err
	}
	if err := f.reachAll(ctx, n); err != nil {
		return 0, 0, err
	}
	took = time.Since(since)
	after, err := f.Admin.Updates(ctx, stage.Backend)
	if err != nil {
		return took, 0, err
	}
	for _, p := range all {
		p.Kill()
	}
	return took, after - before, f.has(ctx, 0)
}

// reachAll sends requests through Envoy, one after the other, until n upstreams have
// answered. Envoy gives each its turn.
func (f *Fleet) reachAll(ctx context.Context, n int) error {
	client := stage.NewClient(f.Addresses.Listener, true)
	defer client.Close()
	reached := make(map[string]bool)
	for range 10 * n {
		a := client.Get(ctx)
		if err := a.Failure(); err != nil {
			return err
		}
		if reached[a.Body] = true; len(reached) == n {
			return nil
		}
	}
	return fmt.Errorf("%d requests through envoy reached %d of %d upstreams", 10*n, len(reached), n)
}

// DrainInFlight starts an upstream, sends it a request that takes two seconds, and
// SIGTERM while it is on its way. It returns how long the process took to be gone,
// and an error if the request was not answered.
func (f *Fleet) DrainInFlight(ctx context.Context) (time.Duration, error) {
	p, err := f.Odd(ctx)
	if err != nil {
		return 0, err
	}
	defer p.Kill()
	client := stage.NewClient(f.Addresses.Listener, true).At(slowPath)
	defer client.Close()
	answered := make(chan stage.Answer, 1)
	go func() { answered <- client.Get(ctx) }()
	time.Sleep(200 * time.Millisecond) // it is on its way by then
	since := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	err = p.Wait(ctx)
	took := time.Since(since)
	if failure := (<-answered).Failure(); failure != nil {
		return took, fmt.Errorf("the request in flight: %w", failure)
	}
	return took, err
}
