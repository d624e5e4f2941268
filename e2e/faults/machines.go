// Package faults does harm to a fleet of real processes, on loopback or on hosts of
// their own, and says what an Envoy that follows it noticed. The end-to-end tests
// do each a few times, the bench often.
package faults

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/netns"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// port is where every upstream serves: each has an address of its own.
const port = 8080

const gossipPort = 7946

// Options say what is run.
type Options struct {
	Binary string // rollcall
	Envoy  string // the Envoy binary
	Dir    string // for logs and data

	Server  []string // further flags of the EDS server
	Members []string // and of everybody in the pool; none: --insecure
	Spare   int      // hosts on which nothing is started
}

// Machines are hosts in network namespaces: an EDS server and an Envoy on the first
// one, an upstream on each of the others.
type Machines struct {
	Net   *netns.Net
	API   *stage.API
	Admin *stage.Admin
	EDS   *stage.Process

	opts      Options
	processes []*stage.Process
	upstreams int
}

// NewMachines starts n upstreams and waits until Envoy has them all.
func NewMachines(ctx context.Context, opts Options, n int) (*Machines, error) {
	if len(opts.Members) == 0 {
		opts.Members = []string{"--insecure"}
	}
	network, err := netns.New(ctx, n+1+opts.Spare)
	if err != nil {
		return nil, err
	}
	well := stage.WellKnown() // every host has these ports to itself
	m := &Machines{
		Net: network, opts: opts, upstreams: n,
		API: stage.NewAPIVia(well.HTTP, network.Dialer(0)), Admin: stage.NewAdminVia(well.Admin, network.Dialer(0)),
	}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machines) start(ctx context.Context) (err error) {
	args := []string{"eds", "--gossip", m.Net.Addr(0) + ":7946", "--data-dir", filepath.Join(m.opts.Dir, "data")}
	if m.EDS, err = m.run(0, "eds", slices.Concat(args, m.opts.Members, m.opts.Server)...); err != nil {
		return err
	}
	if err := m.EDS.Await(ctx, m.API.Ready); err != nil {
		return err
	}
	for i := range m.upstreams {
		if err := m.Upstream(i + 1); err != nil {
			return err
		}
	}
	envoy, err := m.run(0, "envoy", "envoy", "run", "--envoy", m.opts.Envoy, "--api", "delta-ads", "--log-level", "warning")
	if err != nil {
		return err
	}
	if err := envoy.Await(ctx, m.Admin.Ready); err != nil {
		return err
	}
	return stage.Eventually(ctx, func(ctx context.Context) error { return m.Has(ctx, m.upstreams) })
}

// Upstream starts one on a host, and does not wait for it.
func (m *Machines) Upstream(host int, args ...string) error {
	addr := m.Net.Addr(host)
	flags := []string{"upstream", "-p", strconv.Itoa(port), "--address", addr, "--gossip", addr + ":7946", "--join", m.Net.Addr(0) + ":7946"}
	_, err := m.run(host, upstreamOn(host), slices.Concat(flags, m.opts.Members, args)...)
	return err
}

// Kill kills the upstream on a host.
func (m *Machines) Kill(host int) error {
	for _, p := range slices.Backward(m.processes) {
		if p.Name == upstreamOn(host) {
			p.Kill()
			return nil
		}
	}
	return fmt.Errorf("no upstream was started on host %d", host)
}

func upstreamOn(host int) string { return "upstream-" + strconv.Itoa(host) }

// run starts rollcall on a host.
func (m *Machines) run(host int, name string, args ...string) (*stage.Process, error) {
	program, all := m.Net.Command(host, m.opts.Binary, args...)
	p, err := stage.Start(stage.Command{
		Name: name, Path: program, Args: all, Env: []string{"TMPDIR=" + m.opts.Dir},
		LogFile: filepath.Join(m.opts.Dir, name+".log"),
	})
	if err == nil {
		m.processes = append(m.processes, p)
	}
	return p, err
}

// Close kills everything and removes the hosts.
func (m *Machines) Close() error {
	for _, p := range slices.Backward(m.processes) {
		p.Kill()
	}
	return m.Net.Close()
}

// Logs are the last lines of every process.
func (m *Machines) Logs(n int) string {
	var all strings.Builder
	for _, p := range m.processes {
		all.WriteString(fmt.Sprintf("the last lines of %s:\n%s\n", p.Name, p.Tail(n)))
	}
	return all.String()
}

// Has returns an error unless Envoy has n endpoints that it may use.
func (m *Machines) Has(ctx context.Context, n int) error {
	hosts, err := m.Admin.Healthy(ctx, stage.Backend)
	if err == nil && len(hosts) != n {
		err = fmt.Errorf("envoy has %d endpoints, not %d: %v", len(hosts), n, hosts)
	}
	return err
}

// Until waits until Envoy has n endpoints and returns how long that took.
func (m *Machines) Until(ctx context.Context, n int) (time.Duration, error) {
	since := time.Now()
	err := stage.Eventually(ctx, func(ctx context.Context) error { return m.Has(ctx, n) })
	return time.Since(since), err
}

// Loses watches Envoy for d and returns how many of its endpoints it lost.
func (m *Machines) Loses(ctx context.Context, d time.Duration) (int, error) {
	return loses(ctx, m.Admin, m.upstreams, d)
}

// All waits until gossip sees every upstream alive at the EDS server.
func (m *Machines) All(ctx context.Context) error {
	return stage.Eventually(ctx, func(ctx context.Context) error {
		alive, err := m.Alive(ctx)
		if err == nil && alive != m.upstreams {
			err = fmt.Errorf("gossip sees %d of %d", alive, m.upstreams)
		}
		return err
	})
}

// guards is what the EDS server refuses to believe.
type guards struct {
	Isolated bool
	Guards   map[string]struct{ Held int }
}

// Guarded waits until the guard holds n endpoints.
func (m *Machines) Guarded(ctx context.Context, n int) error {
	return m.guards(ctx, func(g guards) error {
		held := 0
		for _, one := range g.Guards {
			held += one.Held
		}
		if held != n {
			return fmt.Errorf("the guard holds %d endpoints, not %d", held, n)
		}
		return nil
	})
}

// Unguarded waits until no guard holds and Envoy has every endpoint.
func (m *Machines) Unguarded(ctx context.Context) error {
	return m.guards(ctx, func(g guards) error {
		if g.Isolated || len(g.Guards) > 0 {
			return fmt.Errorf("guards hold: %+v", g)
		}
		return m.Has(ctx, m.upstreams)
	})
}

// guards waits until check has nothing against what the EDS server says.
func (m *Machines) guards(ctx context.Context, check func(guards) error) error {
	return stage.Eventually(ctx, func(ctx context.Context) error {
		var g guards
		if err := m.API.Get(ctx, "/guards", &g); err != nil {
			return err
		}
		return check(g)
	})
}

// Cut takes the links of hosts down, or up again.
func (m *Machines) Cut(ctx context.Context, cut bool, hosts ...int) error {
	var errs []error
	for _, i := range hosts {
		errs = append(errs, m.Net.Cut(ctx, i, cut))
	}
	return errors.Join(errs...)
}

// Reject has a firewall refuse the EDS server's connections to every upstream, over TCP
// alone, with "tcp reset" or "icmp port-unreachable"; "" ends it.
func (m *Machines) Reject(ctx context.Context, with string) error {
	return m.Net.Reject(ctx, 0, with, port, gossipPort)
}

// Drop has it drop what is sent to their serving ports; Reject with "" ends that.
func (m *Machines) Drop(ctx context.Context) error { return m.Net.Drop(ctx, 0, port) }

// Lose drops a share of all packets on every host, in percent.
func (m *Machines) Lose(ctx context.Context, percent int) error {
	var errs []error
	for i := range m.upstreams + 1 {
		errs = append(errs, m.Net.Lose(ctx, i, percent))
	}
	return errors.Join(errs...)
}

// Alive returns how many upstreams gossip sees alive at the EDS server.
func (m *Machines) Alive(ctx context.Context) (int, error) {
	var pool struct {
		Members []struct{ Role, Liveness string }
	}
	if err := m.API.Get(ctx, "/members", &pool); err != nil {
		return 0, err
	}
	n := 0
	for _, member := range pool.Members {
		if member.Role == "upstream" && member.Liveness == "alive" {
			n++
		}
	}
	return n, nil
}

// Silence cuts one host off and returns how long it took until Envoy used it no
// more, and, once its link was up again, until Envoy used it again.
func (m *Machines) Silence(ctx context.Context, host int) (out, back time.Duration, err error) {
	if err := m.Cut(ctx, true, host); err != nil {
		return 0, 0, err
	}
	if out, err = m.Until(ctx, m.upstreams-1); err != nil {
		return out, 0, err
	}
	if err := m.Cut(ctx, false, host); err != nil {
		return out, 0, err
	}
	back, err = m.Until(ctx, m.upstreams)
	return out, back, err
}
