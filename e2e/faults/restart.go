package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Restart says how the EDS servers of a fleet end, all at once, and are started again,
// while every upstream lives.
type Restart struct {
	API       string
	Upstreams int
	Signal    syscall.Signal
	Lost      bool // the data folders are lost
	Pair      bool // two servers, that join each other
	Early     bool // as soon as Envoy has the upstreams, which joined at once
}

// String says what happens to the servers.
func (r Restart) String() string {
	servers, ends, data, when := "EDS server", "kill -9", "data kept", ""
	if r.Pair {
		servers = "two EDS servers that join each other"
	}
	if r.Signal == syscall.SIGTERM {
		ends = "SIGTERM"
	}
	if r.Lost {
		data = "data lost"
	}
	if r.Early {
		when = " just after its upstreams joined"
	}
	return fmt.Sprintf("%s: %s%s, %s, %s, %d upstreams", servers, ends, when, data, r.API, r.Upstreams)
}

// Restarted is what an Envoy and its clients saw of it.
type Restarted struct {
	Requests int
	Failed   []error
	Fewest   int           // endpoints that Envoy held
	Took     time.Duration // until the servers served all endpoints again
}

const (
	restartRate  = 400                    // requests a second
	restartLook  = 10 * time.Millisecond  // between two looks at Envoy
	restartWarm  = 300 * time.Millisecond // of load before
	restartAfter = 3 * time.Second        // and after, for what is pushed late
)

// restarting is a fleet whose servers are restarted.
type restarting struct {
	*Fleet
	Restart
	at      []stage.Addresses
	servers []*stage.Process
}

// Run starts a fleet in f, restarts its servers, and says what was seen.
func (r Restart) Run(ctx context.Context, f *stage.Fleet) (Restarted, error) {
	fleet := &restarting{Fleet: &Fleet{Fleet: f}, Restart: r, at: []stage.Addresses{f.Addresses}}
	if r.Pair {
		second, err := stage.Fresh()
		if err != nil {
			return Restarted{}, err
		}
		fleet.at = append(fleet.at, second)
		fleet.Join = f.Addresses.Gossip + "," + second.Gossip
	}
	if err := fleet.start(ctx); err != nil {
		return Restarted{}, err
	}
	return fleet.restart(ctx)
}

func (f *restarting) start(ctx context.Context) error {
	if err := f.startServers(); err != nil {
		return err
	}
	if err := f.each(ctx, func(ctx context.Context, api *stage.API) error { return api.Ready(ctx) }); err != nil {
		return err
	}
	args := []string{"--no-retries", "--refresh-delay", "100ms"}
	for _, a := range f.at[1:] {
		eds := a.XDS
		if f.API == "rest" {
			eds = a.HTTP
		}
		args = append(args, "--eds", eds)
	}
	if _, err := f.Envoy(ctx, f.Restart.API, args...); err != nil {
		return err
	}
	for range f.Restart.Upstreams {
		port, err := stage.FreePort()
		if err != nil {
			return err
		}
		if _, err := f.startUpstream(port); err != nil {
			return err
		}
	}
	if err := f.has(ctx, f.Restart.Upstreams); err != nil || f.Early {
		return err
	}
	return f.each(ctx, f.serves)
}

func (f *restarting) startUpstream(port int) (*stage.Process, error) {
	if f.Join == "" {
		return f.StartUpstream(port)
	}
	return f.StartUpstream(port, "--join", f.Join)
}

func (f *restarting) startServers() error {
	f.servers = nil
	for i, a := range f.at {
		var args []string
		if f.Pair {
			args = []string{"--join", f.at[1-i].Gossip}
		}
		p, err := f.StartEDSAt(a, args...)
		if err != nil {
			return err
		}
		f.servers = append(f.servers, p)
	}
	return nil
}

// each waits until check holds at every server.
func (f *restarting) each(ctx context.Context, check func(context.Context, *stage.API) error) error {
	for i, a := range f.at {
		api := stage.NewAPI(a.HTTP)
		if err := f.servers[i].Await(ctx, func(ctx context.Context) error { return check(ctx, api) }); err != nil {
			return err
		}
	}
	return nil
}

// serves returns an error unless a server serves every upstream.
func (f *restarting) serves(ctx context.Context, api *stage.API) error {
	service, err := api.Service(ctx, f.Service)
	served := 0
	for _, h := range service.Hosts {
		if h.Served {
			served++
		}
	}
	if err == nil && served != f.Restart.Upstreams {
		err = fmt.Errorf("%d of %d upstreams are served", served, f.Restart.Upstreams)
	}
	return err
}

func (f *restarting) restart(ctx context.Context) (r Restarted, err error) {
	loads := StartLoads(ctx, restartRate, f.Addresses.Listener)
	if !f.Early {
		time.Sleep(restartWarm)
	}
	looking, stop := context.WithCancel(ctx)
	defer stop()
	fewest := make(chan int, 1)
	go func() { fewest <- f.fewest(looking) }()
	began := time.Now()
	err = f.replace(ctx)
	if err == nil {
		err = f.each(ctx, f.serves)
	}
	r.Took = time.Since(began)
	time.Sleep(restartAfter)
	stop()
	r.Fewest = <-fewest
	r.Requests, r.Failed = loads.Stop()
	return r, err
}

// replace ends the servers and starts them again.
func (f *restarting) replace(ctx context.Context) error {
	for _, p := range f.servers {
		if err := p.Signal(f.Signal); err != nil {
			return err
		}
	}
	for _, p := range f.servers {
		select {
		case <-p.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.Lost {
		folders, err := filepath.Glob(filepath.Join(f.Dir, "eds-*"))
		if err != nil {
			return err
		}
		for _, d := range folders {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
	}
	return f.startServers()
}

// fewest looks until ctx ends how many endpoints Envoy may use.
func (f *restarting) fewest(ctx context.Context) int {
	least := f.Restart.Upstreams
	for ctx.Err() == nil {
		if n, err := f.Admin.Usable(ctx, stage.Backend); err == nil {
			least = min(least, n)
		}
		time.Sleep(restartLook)
	}
	return least
}

// Restarts is the table of them: each way to end, with data and without, over each kind
// of transport.
func Restarts(upstreams int) (all []Restart) {
	for _, api := range []string{"grpc", "delta-ads", "rest"} {
		for _, r := range []Restart{
			{Signal: syscall.SIGKILL, Early: true},
			{Signal: syscall.SIGKILL, Lost: true},
			{Signal: syscall.SIGTERM},
			{Signal: syscall.SIGTERM, Lost: true},
			{Signal: syscall.SIGKILL, Lost: true, Pair: true},
		} {
			r.API, r.Upstreams = api, upstreams
			all = append(all, r)
		}
	}
	return all
}
