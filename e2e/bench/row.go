package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// row is one line of the table. What it is about is done once for each trial, in a
// fleet on loopback or on machines of its own.
type row struct {
	name string
	want wanted
	unit unit // of what a trial returns
	most int  // trials, whatever the command line says; 0 for no limit

	setup    setup
	machines int // upstreams on hosts of their own; 0 for a fleet on loopback
	hosts    hosts
}

// setup starts what a row needs in a fleet of its own, and returns what is done
// once for each trial.
type setup func(context.Context, *stage.Fleet) (trial, error)

// trial does what the row is about once and returns how long it took, or a count
// in the form of counted. It leaves the fleet as it found it.
type trial func(context.Context) (time.Duration, error)

// unit is what a row's figures are.
type unit int

const (
	milliseconds unit = iota
	count
	kilobytes
	percent
)

// counted is a count in the place of a duration.
func counted(n int) time.Duration { return time.Duration(n) * time.Millisecond }

const (
	pollRate     = 1000                  // requests a second through Envoy while something is measured
	setUpTimeout = time.Minute           // for the setup of a row
	phase        = time.Second           // trials start at random moments, not in step with any poll
	overlap      = 50 * time.Millisecond // how long requests go on after what was waited for
)

// bench holds what all rows share.
type bench struct {
	binary, envoy, dir string
	trials             int
}

func (b *bench) measure(ctx context.Context, r row) ([]time.Duration, error) {
	once, stop, err := b.setUp(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stop() }() // the figures are there already
	trials := b.trials
	if r.most > 0 {
		trials = min(trials, r.most)
	}
	var all []time.Duration
	for i := range trials {
		took, err := try(ctx, once)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", i+1, err)
		}
		all = append(all, took)
		fmt.Fprintf(os.Stderr, "%s: %d/%d, %s\n", r.name, i+1, trials, r.unit.show(took))
	}
	return all, nil
}

func (b *bench) setUp(ctx context.Context, r row) (trial, func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	if r.machines > 0 {
		return b.onHosts(ctx, r)
	}
	addrs, err := stage.Fresh()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "row-")
	if err != nil {
		return nil, nil, err
	}
	f := stage.NewFleet(stage.Options{Binary: b.binary, Envoy: b.envoy, Dir: dir, Addresses: addrs, Pool: stage.OwnPool()})
	once, err := r.setup(ctx, f)
	if err != nil {
		f.Kill()
		return nil, nil, err
	}
	return once, func() error { f.Kill(); return nil }, nil
}

func try(ctx context.Context, once trial) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, longTimeout)
	defer cancel()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(rand.N(phase)):
	}
	return once(ctx)
}

// startFleet starts an EDS server and an Envoy that follows it over api and hides
// no failure.
func startFleet(ctx context.Context, f *stage.Fleet, api string) error {
	if _, err := f.EDS(ctx); err != nil {
		return err
	}
	_, err := f.Envoy(ctx, api, "--no-retries", "--refresh-delay", "100ms")
	return err
}

// startUpstream starts an upstream on a port that was not used before.
func startUpstream(ctx context.Context, f *stage.Fleet, args ...string) (*stage.Upstream, error) {
	port, err := stage.FreePort()
	if err != nil {
		return nil, err
	}
	return f.Upstream(ctx, port, args...)
}

// poll starts the requests that a trial measures with.
func poll(ctx context.Context, f *stage.Fleet) *stage.Load {
	return stage.StartLoad(ctx, stage.NewClient(f.Addresses.Listener, true), pollRate)
}

// from matches the answers of one upstream.
func from(id string) func(stage.Answer) bool {
	return func(a stage.Answer) bool { return a.ID() == id }
}

// finish lets the requests go on a little, so that one that comes late is seen, and
// returns all answers. A poller that could not keep its rate measured nothing.
func finish(ctx context.Context, l *stage.Load) (stage.Answers, error) {
	until := time.Now().Add(overlap)
	if _, err := l.First(ctx, func(a stage.Answer) bool { return a.Sent.After(until) }); err != nil {
		return nil, err
	}
	answers := l.Stop()
	if n := l.Skipped(); n > len(answers)/10 {
		return nil, fmt.Errorf("%d of %d requests were not sent in time: this machine is too busy to measure on", n, n+len(answers))
	}
	return answers, nil
}

// lastOf returns when the last request that match accepts was sent, counted from
// since; 0 when there was none after it.
func lastOf(answers stage.Answers, since time.Time, match func(stage.Answer) bool) time.Duration {
	var last time.Duration
	for _, a := range answers {
		if match(a) {
			last = max(last, a.Sent.Sub(since))
		}
	}
	return last
}
