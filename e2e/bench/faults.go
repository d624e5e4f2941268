package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// longTimeout bounds one trial of the rows that go on for minutes.
const longTimeout = 10 * time.Minute

// The rows of death and silence. What each must reach is in its want.
func faultRows() []row {
	return []row{
		{name: "kill -9 of 1 of 10 → last request to it, grpc", want: wantP99(25 * time.Millisecond), most: 100, setup: kill("grpc", 1)},
		{name: "kill -9 of 1 of 10 → last request to it, rest", want: wantMax(250 * time.Millisecond), most: 30, setup: kill("rest", 1)},
		{name: "kill -9 of 8 of 10 → last request to them, guard quiet", want: wantMax(50 * time.Millisecond), most: 10, setup: kill("grpc", 8)},
		{name: "retries on, 1,000 requests/s, ten kills → requests failed", want: wantZero, unit: count, most: 3, setup: hidden},
		{name: "SIGSTOP → out", want: wantOut, most: 30, setup: harm(syscall.SIGSTOP, syscall.SIGCONT, false)},
		{name: "SIGCONT → back", want: wantMax(1500 * time.Millisecond), most: 10, setup: harm(syscall.SIGSTOP, syscall.SIGCONT, true)},
		{name: "hangs while its gossip talks → out", want: wantOut, most: 30, setup: harm(syscall.SIGUSR1, syscall.SIGHUP, false)},
		{name: "hangs no more → back", want: wantMax(1500 * time.Millisecond), most: 10, setup: harm(syscall.SIGUSR1, syscall.SIGHUP, true)},
		{name: "/healthz turns 503 → out", want: wantMax(2200 * time.Millisecond), most: 30, setup: harm(syscall.SIGUSR2, syscall.SIGHUP, false)},
		{name: "a host's link goes down, 10 hosts → out", want: wantOut, most: 30, machines: 10, hosts: silence(false)},
		{name: "its link is up → back", want: wantMax(2 * time.Second), most: 10, machines: 10, hosts: silence(true)},
		{name: "6 of 10 silent for 20 s → endpoints lost", want: wantZero, unit: count, most: 3, machines: 10, hosts: majority},
		{name: "6 of 10 heard again → all normal", want: wantMax(3 * time.Second), most: 3, machines: 10, hosts: majorityBack},
		{name: "EDS server cut off for 60 s → endpoints lost", want: wantZero, unit: count, most: 1, machines: 10, hosts: cutOff(time.Minute)},
		{name: "EDS server cut off for 2 s → gossip sees all again", want: wantMax(15 * time.Second), most: 5, machines: 10, hosts: wayBack(2 * time.Second)},
		{name: "EDS server cut off for 60 s → gossip sees all again", want: wantMax(15 * time.Second), most: 2, machines: 10, hosts: wayBack(time.Minute)},
		{name: "EDS server stopped for 5 s → endpoints lost", want: wantZero, unit: count, most: 3, machines: 10, hosts: asleep},
		{name: "20 hosts, 20 % of packets lost, 5 min → endpoints lost", want: wantZero, unit: count, most: 1, machines: 20, hosts: loss(20)},
		{name: "20 hosts, 30 % of packets lost, 5 min → endpoints lost", unit: count, most: 1, machines: 20, hosts: loss(30)},
		{name: "flapping each second for 60 s → changes of its place", want: wantCount(12), unit: count, most: 1, setup: flap},
		{name: "16 busy loops for 2 min → endpoints lost", want: wantZero, unit: count, most: 1, setup: starve},
		{name: "restart, same port, at once → right", want: wantMax(3 * time.Second), most: 5, setup: restart(true, 0)},
		{name: "restart, other port, at once → right", want: wantMax(3 * time.Second), most: 5, setup: restart(false, 0)},
		{name: "restart, same port, after 5 s → right", want: wantMax(3 * time.Second), most: 3, setup: restart(true, 5*time.Second)},
		{name: "restart, other port, after 5 s → right", want: wantMax(3 * time.Second), most: 3, setup: restart(false, 5*time.Second)},
	}
}

var wantOut = wanted{median: 2500 * time.Millisecond, max: 4 * time.Second}

func kill(api string, n int) setup {
	return func(ctx context.Context, f *stage.Fleet) (trial, error) {
		fleet, err := faults.NewFleet(ctx, f, api, 10, "--no-retries")
		return func(ctx context.Context) (time.Duration, error) {
			if err := fleet.Fill(ctx, 10); err != nil {
				return 0, err
			}
			time.Sleep(rand.N(time.Second)) // a death comes at any moment, not just when Envoy has polled
			took, err := fleet.Kill(ctx, n)
			if err == nil {
				err = unguarded(ctx, f)
			}
			return took, err
		}, err
	}
}

// unguarded returns an error if a guard holds.
func unguarded(ctx context.Context, f *stage.Fleet) error {
	var guards struct{ Guards map[string]any }
	err := f.API.Get(ctx, "/guards", &guards)
	if err == nil && len(guards.Guards) > 0 {
		err = fmt.Errorf("guards hold %v", guards.Guards)
	}
	return err
}

func hidden(ctx context.Context, f *stage.Fleet) (trial, error) {
	fleet, err := faults.NewFleet(ctx, f, "grpc", 10)
	return func(ctx context.Context) (time.Duration, error) {
		client := stage.NewClient(f.Addresses.Listener, true)
		defer client.Close()
		load := stage.StartLoad(ctx, client, 1000)
		defer load.Stop()
		for range 10 {
			time.Sleep(200 * time.Millisecond)
			fleet.Upstreams[0].Kill()
			fleet.Upstreams = fleet.Upstreams[1:]
			if err := fleet.Fill(ctx, 10); err != nil {
				return 0, err
			}
		}
		return counted(len(load.Stop().Failed())), nil
	}, err
}

func harm(harm, heal syscall.Signal, returning bool) setup {
	return func(ctx context.Context, f *stage.Fleet) (trial, error) {
		fleet, err := faults.NewFleet(ctx, f, "grpc", 9, "--no-retries")
		return func(ctx context.Context) (time.Duration, error) {
			p, err := fleet.Odd(ctx)
			if err != nil {
				return 0, err
			}
			out, back, err := fleet.Harm(ctx, p, harm, heal)
			p.Kill()
			if err == nil {
				err = fleet.Fill(ctx, 9) // waits until Envoy has let go of it
			}
			if returning {
				return back, err
			}
			return out, err
		}, err
	}
}

func flap(ctx context.Context, f *stage.Fleet) (trial, error) {
	fleet, err := faults.NewFleet(ctx, f, "grpc", 3)
	return func(ctx context.Context) (time.Duration, error) {
		n, err := fleet.Flap(ctx, time.Minute)
		return counted(n), err
	}, err
}

func starve(ctx context.Context, f *stage.Fleet) (trial, error) {
	fleet, err := faults.NewFleet(ctx, f, "delta-ads", 10)
	return func(ctx context.Context) (time.Duration, error) {
		stop, err := fleet.Busy(16)
		if err != nil {
			return 0, err
		}
		defer stop()
		lost, err := fleet.Loses(ctx, 2*time.Minute)
		return counted(lost), err
	}, err
}

// restart has an upstream for each trial: one that dies often on one port is
// damped, as it should be.
func restart(same bool, pause time.Duration) setup {
	return func(ctx context.Context, f *stage.Fleet) (trial, error) {
		fleet, err := faults.NewFleet(ctx, f, "grpc", 5, "--no-retries")
		return func(ctx context.Context) (time.Duration, error) {
			took, err := fleet.Restart(ctx, same, pause, 10*time.Second)
			fleet.Upstreams = append(fleet.Upstreams[1:], fleet.Upstreams[0])
			return took, err
		}, err
	}
}

// hosts does what a row is about on machines of its own.
type hosts func(context.Context, *faults.Machines) (time.Duration, error)

func silence(returning bool) hosts {
	next := 0
	return func(ctx context.Context, m *faults.Machines) (time.Duration, error) {
		next = next%10 + 1
		out, back, err := m.Silence(ctx, next)
		if returning {
			return back, err
		}
		return out, err
	}
}

var six = []int{1, 2, 3, 4, 5, 6}

func majority(ctx context.Context, m *faults.Machines) (time.Duration, error) {
	if err := m.Cut(ctx, true, six...); err != nil {
		return 0, err
	}
	lost, err := m.Loses(ctx, 20*time.Second)
	if err != nil {
		return 0, err
	}
	if err := m.Cut(ctx, false, six...); err != nil {
		return 0, err
	}
	return counted(lost), m.Unguarded(ctx)
}

func majorityBack(ctx context.Context, m *faults.Machines) (time.Duration, error) {
	if err := m.Cut(ctx, true, six...); err != nil {
		return 0, err
	}
	if err := m.Guarded(ctx, len(six)); err != nil {
		return 0, err
	}
	if err := m.Cut(ctx, false, six...); err != nil {
		return 0, err
	}
	since := time.Now()
	err := m.Unguarded(ctx)
	return time.Since(since), err
}

func cutOff(d time.Duration) hosts {
	return func(ctx context.Context, m *faults.Machines) (time.Duration, error) {
		if err := m.Cut(ctx, true, 0); err != nil {
			return 0, err
		}
		lost, err := m.Loses(ctx, d)
		if err != nil {
			return 0, err
		}
		if err := m.Cut(ctx, false, 0); err != nil {
			return 0, err
		}
		after, err := m.Loses(ctx, 10*time.Second)
		return counted(max(lost, after)), err
	}
}

func wayBack(d time.Duration) hosts {
	return func(ctx context.Context, m *faults.Machines) (time.Duration, error) {
		if err := m.Cut(ctx, true, 0); err != nil {
			return 0, err
		}
		time.Sleep(d)
		if err := m.Cut(ctx, false, 0); err != nil {
			return 0, err
		}
		since := time.Now()
		err := m.All(ctx)
		return time.Since(since), err
	}
}

func asleep(ctx context.Context, m *faults.Machines) (time.Duration, error) {
	if err := m.EDS.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	lost, err := m.Loses(ctx, 5*time.Second)
	if err != nil {
		return 0, err
	}
	if err := m.EDS.Signal(syscall.SIGCONT); err != nil {
		return 0, err
	}
	after, err := m.Loses(ctx, 10*time.Second)
	return counted(max(lost, after)), err
}

func loss(percent int) hosts {
	return func(ctx context.Context, m *faults.Machines) (time.Duration, error) {
		if err := m.Lose(ctx, percent); err != nil {
			return 0, err
		}
		lost, err := m.Loses(ctx, 5*time.Minute)
		if err != nil {
			return 0, err
		}
		return counted(lost), m.Lose(ctx, 0)
	}
}

// onHosts makes a setup of what is done on machines.
func (b *bench) onHosts(ctx context.Context, r row) (trial, func() error, error) {
	dir, err := os.MkdirTemp(b.dir, "hosts-")
	if err != nil {
		return nil, nil, err
	}
	m, err := faults.NewMachines(ctx, faults.Options{Binary: b.binary, Envoy: b.envoy, Dir: dir}, r.machines)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (time.Duration, error) { return r.hosts(ctx, m) }, m.Close, nil
}
