package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// singleRows are about a program that serves one connection at a time, under `rollcall
// run`: what it costs its requests, and how soon its death is noticed.
func singleRows() []row {
	var rows []row
	for _, servers := range []int{1, 3} {
		for p, most := range map[int]int{50: 110, 99: 150} {
			rows = append(rows, latencyRow(servers, p, most))
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return len(a.name) - len(b.name) })
	return append(rows,
		singleDeathRow("kill -9 of a program under run → last request to it", func(_ *stage.Process, program int) error {
			return syscall.Kill(program, syscall.SIGKILL)
		}),
		singleDeathRow("kill -9 of wrapper and program together → last request to it", func(wrapper *stage.Process, program int) error {
			if err := wrapper.Signal(syscall.SIGKILL); err != nil {
				return err
			}
			_ = syscall.Kill(program, syscall.SIGKILL) // it ends with its wrapper, and may have done so
			return nil
		}))
}

// latencyRow compares the program under run with itself alone: requests to both, in
// turns, each on a connection of its own.
func latencyRow(servers, p, most int) row {
	name := fmt.Sprintf("one connection at a time, %s: latency at %d %% of that of the program alone", map[int]string{1: "one EDS server", 3: "three EDS servers"}[servers], p)
	return row{name: name, unit: percent, want: wanted{median: counted(most)}, most: 5, setup: func(ctx context.Context, f *stage.Fleet) (trial, error) {
		alone, under, err := startBoth(ctx, f, servers)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (time.Duration, error) { return compare(ctx, alone, under, p) }, nil
	}}
}

// startBoth starts the program by itself, and under run with as many EDS servers.
func startBoth(ctx context.Context, f *stage.Fleet, servers int) (alone, under faults.Single, err error) {
	if _, err := f.EDS(ctx); err != nil {
		return alone, under, err
	}
	for range servers - 1 {
		at, err := stage.Fresh()
		if err != nil {
			return alone, under, err
		}
		if _, err := f.StartEDSAt(at, "--join", f.Addresses.Gossip); err != nil {
			return alone, under, err
		}
	}
	for _, s := range []*faults.Single{&alone, &under} {
		dir, err := os.MkdirTemp(f.Dir, "program-")
		if err != nil {
			return alone, under, err
		}
		if *s, err = faults.NewSingle(dir, "python", 0); err != nil {
			return alone, under, err
		}
	}
	if _, err := alone.Start(); err != nil {
		return alone, under, err
	}
	if _, err := under.Run(f); err != nil {
		return alone, under, err
	}
	if err := alone.Answers(ctx); err != nil {
		return alone, under, err
	}
	return alone, under, stage.Eventually(ctx, func(ctx context.Context) error {
		svc, err := f.API.Service(ctx, f.Service)
		if err == nil && len(svc.Hosts) != 1 {
			err = fmt.Errorf("%d hosts", len(svc.Hosts))
		}
		return err
	})
}

// compare returns the p-th percentile of one in percent of the other's.
func compare(ctx context.Context, alone, under faults.Single, p int) (time.Duration, error) {
	const requests = 1000
	var took [2][]time.Duration
	for range requests {
		for i, s := range []faults.Single{alone, under} {
			c := stage.NewClient(stage.Local(s.Port), false)
			a := c.Get(ctx)
			if a.Err != nil {
				return 0, a.Err
			}
			took[i] = append(took[i], a.Got.Sub(a.Sent))
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	return counted(int(100 * percentile(took[1], p) / percentile(took[0], p))), nil
}

func singleDeathRow(name string, kill func(wrapper *stage.Process, program int) error) row {
	return row{name: name, want: wantMax(25 * time.Millisecond), setup: func(ctx context.Context, f *stage.Fleet) (trial, error) {
		if err := startFleet(ctx, f, "grpc"); err != nil {
			return nil, err
		}
		for range bystanders {
			if _, err := startUpstream(ctx, f); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context) (time.Duration, error) {
			dir, err := os.MkdirTemp(f.Dir, "program-")
			if err != nil {
				return 0, err
			}
			s, err := faults.NewSingle(dir, uuid.NewString(), 0)
			if err != nil {
				return 0, err
			}
			wrapper, err := s.Run(f)
			if err != nil {
				return 0, err
			}
			defer wrapper.Kill()
			u := &stage.Upstream{Process: wrapper, Port: s.Port, ID: s.Args[3]}
			return diesAs(ctx, f, u, func(context.Context, *stage.Upstream) error {
				pid, err := s.PID()
				if err != nil {
					return err
				}
				return kill(wrapper, pid)
			})
		}, nil
	}}
}
