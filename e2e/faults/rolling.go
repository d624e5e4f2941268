package faults

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Pair is two fleets of one pool: each an EDS server and an Envoy, which may follow
// either server. The upstreams are the first one's.
type Pair struct {
	*Fleet
	Other *stage.Fleet
}

// NewPair starts both, with n upstreams that join through both, and waits until
// both Envoys have them all.
func NewPair(ctx context.Context, first, second *stage.Fleet, n int) (*Pair, error) {
	second.Pool = first.Pool
	for _, f := range []*stage.Fleet{first, second} {
		if _, err := f.EDS(ctx, "--join", first.Addresses.Gossip+","+second.Addresses.Gossip); err != nil {
			return nil, err
		}
	}
	for _, f := range []*stage.Fleet{first, second} {
		if _, err := f.Envoy(ctx, "delta-ads", "--no-retries", "--node-id", "envoy-at-"+f.Addresses.HTTP, "--eds", other(f, first, second).Addresses.XDS); err != nil {
			return nil, err
		}
	}
	p := &Pair{Fleet: &Fleet{Fleet: first, Join: first.Addresses.Gossip + "," + second.Addresses.Gossip}, Other: second}
	if err := p.Fill(ctx, n); err != nil {
		return nil, err
	}
	return p, stage.Eventually(ctx, func(ctx context.Context) error { return holds(ctx, second.Admin, n) })
}

func other(f, first, second *stage.Fleet) *stage.Fleet {
	if f == first {
		return second
	}
	return first
}

// Roll restarts every upstream of f, one after the other, on its own port: it is
// asked to stop, ends by itself, and is started again, and the next one's turn is
// when Envoy has it. It returns how long each took to be gone after SIGTERM.
func (f *Fleet) Roll(ctx context.Context, also ...*stage.Admin) ([]time.Duration, error) {
	var gone []time.Duration
	for i, u := range f.Upstreams {
		since := time.Now()
		if err := u.Stop(ctx); err != nil {
			return gone, err
		}
		gone = append(gone, time.Since(since))
		again, err := f.start(ctx, u.Port)
		if err != nil {
			return gone, err
		}
		f.Upstreams[i] = again
		for _, admin := range append(also, f.Admin) {
			if err := stage.Eventually(ctx, func(ctx context.Context) error { return holds(ctx, admin, len(f.Upstreams)) }); err != nil {
				return gone, err
			}
		}
	}
	return gone, nil
}

// Loads are requests, as many GETs as POSTs.
type Loads []*stage.Load

// StartLoads sends rate requests a second to each Envoy.
func StartLoads(ctx context.Context, rate int, listeners ...string) Loads {
	var all Loads
	for _, l := range listeners {
		c := stage.NewClient(l, true)
		all = append(all, stage.StartLoad(ctx, c, rate/2), stage.StartLoad(ctx, c.Posting(), rate/2))
	}
	return all
}

// Stop ends them and returns how many requests were made, and an error for each
// that an upstream did not answer.
func (ls Loads) Stop() (made int, failed []error) {
	for _, l := range ls {
		answers := l.Stop()
		made += len(answers)
		for _, a := range answers.Failed() {
			failed = append(failed, fmt.Errorf("sent at %s: %w", a.Sent.Format("15:04:05.000"), a.Failure()))
		}
	}
	return made, failed
}

// Drain sends SIGTERM to an upstream and returns how long it took until its port
// was closed, and until the process was gone.
func (f *Fleet) Drain(ctx context.Context) (closed, gone time.Duration, err error) {
	u := f.Upstreams[0]
	f.Upstreams = f.Upstreams[1:]
	since := time.Now()
	if err := u.Signal(syscall.SIGTERM); err != nil {
		return 0, 0, err
	}
	err = stage.Eventually(ctx, func(context.Context) error {
		if err := stage.CheckFree(stage.Local(u.Port)); err != nil {
			return fmt.Errorf("port %d is still open: %w", u.Port, err)
		}
		return nil
	})
	closed = time.Since(since)
	if err != nil {
		return closed, 0, err
	}
	err = u.Wait(ctx)
	return closed, time.Since(since), err
}
