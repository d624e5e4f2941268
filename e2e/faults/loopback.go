package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Fleet is an EDS server, an Envoy and upstreams on loopback.
type Fleet struct {
	*stage.Fleet
	Upstreams []*stage.Upstream
	Join      string // the seeds of the upstreams; "" is the fleet's own EDS server
}

// NewFleet starts n upstreams behind an Envoy that asks over api, and waits until
// it has them all. args are Envoy's.
func NewFleet(ctx context.Context, f *stage.Fleet, api string, n int, args ...string) (*Fleet, error) {
	if _, err := f.EDS(ctx); err != nil {
		return nil, err
	}
	if _, err := f.Envoy(ctx, api, append(args, "--refresh-delay", "100ms")...); err != nil {
		return nil, err
	}
	fleet := &Fleet{Fleet: f}
	return fleet, fleet.Fill(ctx, n)
}

// Fill starts upstreams, on ports not used before, until there are n, and waits
// until Envoy has exactly so many.
func (f *Fleet) Fill(ctx context.Context, n int) error {
	for len(f.Upstreams) < n {
		port, err := stage.FreePort()
		if err != nil {
			return err
		}
		u, err := f.start(ctx, port)
		if err != nil {
			return err
		}
		f.Upstreams = append(f.Upstreams, u)
	}
	return f.has(ctx, n)
}

func (f *Fleet) start(ctx context.Context, port int) (*stage.Upstream, error) {
	if f.Join == "" {
		return f.Upstream(ctx, port)
	}
	return f.Upstream(ctx, port, "--join", f.Join)
}

// has waits until Envoy may use exactly n hosts.
func (f *Fleet) has(ctx context.Context, n int) error {
	return stage.Eventually(ctx, func(ctx context.Context) error { return holds(ctx, f.Admin, n) })
}

// holds returns an error unless an Envoy may use exactly n hosts.
func holds(ctx context.Context, admin *stage.Admin, n int) error {
	hosts, err := admin.Healthy(ctx, stage.Backend)
	if err == nil && len(hosts) != n {
		err = fmt.Errorf("envoy has %d hosts, not %d", len(hosts), n)
	}
	return err
}

// Kill kills the first n upstreams at once, under load, and returns how long it
// took until the last request was sent that reached none, because Envoy still
// gave it to a dead one.
func (f *Fleet) Kill(ctx context.Context, n int) (time.Duration, error) {
	client := stage.NewClient(f.Addresses.Listener, true)
	defer client.Close()
	load := stage.StartLoad(ctx, client, 1000)
	defer load.Stop()
	if _, err := load.First(ctx, func(a stage.Answer) bool { return a.ID() != "" }); err != nil {
		return 0, err
	}
	dead, rest := f.Upstreams[:n], f.Upstreams[n:]
	since := time.Now()
	for _, u := range dead {
		if err := u.Signal(syscall.SIGKILL); err != nil {
			return 0, err
		}
	}
	f.Upstreams = rest
	if err := f.has(ctx, len(rest)); err != nil {
		return 0, err
	}
	until := time.Now().Add(50 * time.Millisecond)
	if _, err := load.First(ctx, func(a stage.Answer) bool { return a.Sent.After(until) }); err != nil {
		return 0, err
	}
	var last time.Duration
	for _, a := range load.Stop().Failed() {
		last = max(last, a.Sent.Sub(since))
	}
	return last, nil
}

// Odd starts an odd upstream and waits until Envoy has it. It counts as none of
// f.Upstreams.
func (f *Fleet) Odd(ctx context.Context) (*stage.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := stage.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := stage.Start(stage.Command{
		Name: "odd", Path: self, Env: []string{oddEnvironment(stage.Local(port), f.Addresses.Gossip, f.Pool)},
		LogFile: filepath.Join(f.Dir, "odd-"+strconv.Itoa(port)+".log"),
	})
	if err != nil {
		return nil, err
	}
	if err := f.has(ctx, len(f.Upstreams)+1); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Harm sends p, an upstream that Envoy has beside f.Upstreams, a signal and
// returns how long it took until Envoy used it no more; then it sends heal and
// returns how long it took until Envoy used it again.
func (f *Fleet) Harm(ctx context.Context, p *stage.Process, harm, heal syscall.Signal) (out, back time.Duration, err error) {
	since := time.Now()
	if err := p.Signal(harm); err != nil {
		return 0, 0, err
	}
	if err := f.has(ctx, len(f.Upstreams)); err != nil {
		return time.Since(since), 0, err
	}
	out, since = time.Since(since), time.Now()
	if err := p.Signal(heal); err != nil {
		return out, 0, err
	}
	err = f.has(ctx, len(f.Upstreams)+1)
	return out, time.Since(since), err
}

// Flap starts and kills an upstream on one port, every second for d, and returns how
// often its place in Envoy changed.
func (f *Fleet) Flap(ctx context.Context, d time.Duration) (changes int, err error) {
	port, err := stage.FreePort()
	if err != nil {
		return 0, err
	}
	seen := make(chan int, 1)
	watched, stop := context.WithCancel(ctx)
	defer stop()
	go func() { seen <- f.changes(watched, stage.Local(port)) }()
	for end := time.Now().Add(d); time.Now().Before(end); {
		p, err := f.StartUpstream(port)
		if err != nil {
			return 0, err
		}
		time.Sleep(time.Second)
		p.Kill()
		time.Sleep(time.Second)
	}
	stop()
	return <-seen, ctx.Err()
}

// changes counts how often an address comes to Envoy's list of hosts, or goes.
func (f *Fleet) changes(ctx context.Context, addr string) (n int) {
	was := false
	for ctx.Err() == nil {
		hosts, err := f.Admin.Healthy(ctx, stage.Backend)
		if err != nil {
			continue // the end of ctx, most likely
		}
		is := false
		for _, h := range hosts {
			is = is || h == addr
		}
		if is != was {
			n, was = n+1, is
		}
		time.Sleep(5 * time.Millisecond)
	}
	return n
}

// forgets waits until neither the EDS server nor Envoy has anything to do for old,
// whose place f.Upstreams[0] has taken.
func (f *Fleet) forgets(ctx context.Context, old *stage.Upstream) error {
	return stage.Eventually(ctx, func(ctx context.Context) error {
		service, err := f.API.Service(ctx, f.Service)
		if err != nil {
			return err
		}
		for _, h := range service.Hosts {
			if h.ID == old.ID && h.State == "healthy" {
				return fmt.Errorf("the EDS server serves %s", old.ID)
			}
		}
		ports, err := f.Admin.Hosts(ctx, stage.Backend)
		if err == nil && len(ports) != len(f.Upstreams) {
			err = fmt.Errorf("envoy has the ports %v", ports)
		}
		return err
	})
}

// Busy keeps processors busy with n endless loops until stop is called.
func (f *Fleet) Busy(n int) (stop func(), err error) {
	var loops []*stage.Process
	stop = func() {
		for _, p := range loops {
			p.Kill()
		}
	}
	for range n {
		p, err := stage.Start(stage.Command{
			Name: "busy loop", Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"},
			LogFile: filepath.Join(f.Dir, "busy.log"),
		})
		if err != nil {
			stop()
			return nil, err
		}
		loops = append(loops, p)
	}
	return stop, nil
}

// Loses watches Envoy for d and returns how many of its endpoints it lost.
func (f *Fleet) Loses(ctx context.Context, d time.Duration) (int, error) {
	return loses(ctx, f.Admin, len(f.Upstreams), d)
}

// Restart kills an upstream and starts another one after a pause, on the same port
// or another one. It returns how long it took from there until Envoy gave the new
// process requests, and fails if the new one is taken out within watch after that.
func (f *Fleet) Restart(ctx context.Context, samePort bool, pause, watch time.Duration) (time.Duration, error) {
	old := f.Upstreams[0]
	port := old.Port
	if !samePort {
		var err error
		if port, err = stage.FreePort(); err != nil {
			return 0, err
		}
	}
	old.Kill()
	time.Sleep(pause)
	since := time.Now()
	u, err := f.Upstream(ctx, port)
	if err != nil {
		return 0, err
	}
	f.Upstreams[0] = u
	var ids []string
	for _, u := range f.Upstreams {
		ids = append(ids, u.ID)
	}
	err = stage.Eventually(ctx, func(ctx context.Context) error { return f.Client.ExpectIDs(ctx, ids...) })
	took := time.Since(since)
	if err != nil {
		return took, err
	}
	if err := f.forgets(ctx, old); err != nil {
		return took, err
	}
	lost, err := f.Loses(ctx, watch)
	if err == nil && lost > 0 {
		err = errors.New("the new process was taken out")
	}
	return took, err
}
