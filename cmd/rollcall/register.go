package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/exposure"
	"github.com/rollcall-fleet/rollcall/internal/heap"
	"github.com/rollcall-fleet/rollcall/internal/option"
	"github.com/rollcall-fleet/rollcall/internal/run"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func newRegister() *cobra.Command {
	var (
		member  memberFlags
		address netip.AddrPort
	)
	c := &cobra.Command{
		Use:         "register",
		Annotations: cli.Service,
		Short:       "Register something that runs already",
		Long: `Registers an endpoint once its health check passes, within --start-timeout, and publishes what the check
says until SIGTERM or SIGINT: two failures make it unhealthy, one success makes it
healthy. Then it drains the endpoint and leaves the pool. The health check is one
of /path, a URL, tcp, grpc and exec:COMMAND, as for rollcall run. An endpoint on
another machine is served only by EDS servers that were started with
--allow-address for it: no member can prove another machine's address.`,
		Example: `  rollcall register --service db --address 127.0.0.1:5432 --health tcp
  rollcall register --service legacy --address 10.0.0.9:80 --health /status --join 10.0.0.5 --gossip-key-file gossip.key`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := cli.Required(c.Flags(), "service", "address"); err != nil {
				return err
			}
			e, err := member.endpoint(c.Context(), address)
			if err != nil {
				return err
			}
			stop, err := member.insecure.check(e.Logger, member.addresses()...)
			if err != nil {
				return err
			}
			defer stop()
			heap.CollectLate()
			return option.Rename(run.Register(c.Context(), e), poolOptions)
		},
	}
	cli.AddrPortVar(c.Flags(), &address, "address", "", "address of the endpoint, the one Envoy connects to")
	member.add(c.Flags())
	return c
}

// memberFlags are what an endpoint is registered with on behalf of its process.
type memberFlags struct {
	e            run.Endpoint
	health       string
	drainTimeout time.Duration
	pool         poolFlags
	trust        memberTrust
	logs         cli.LogFlags
	insecure     insecureFlag
	strict       bool

	flags  *pflag.FlagSet
	gossip netip.AddrPort // where the registration gossips, known by endpoint
}

func (m *memberFlags) add(fs *pflag.FlagSet) {
	serviceFlags(fs, &m.e.Service, "")
	fs.StringVar(&m.health, "health", "tcp", "health check: /path, a URL, tcp, grpc or exec:COMMAND")
	fs.DurationVar(&m.e.HealthInterval, "health-interval", run.DefaultHealthInterval, "between two health checks")
	fs.DurationVar(&m.e.HealthTimeout, "health-timeout", run.DefaultHealthTimeout, "of one health check")
	fs.DurationVar(&m.e.StartTimeout, "start-timeout", run.DefaultStartTimeout, "until the health check must have passed")
	fs.DurationVar(&m.drainTimeout, "drain-timeout", upstream.DefaultDrainTimeout, "how long to wait at most until no Envoy sends requests any more")
	m.pool.add(fs, "", []string{"127.0.0.1:7946"})
	fs.Lookup("gossip").Usage = "address to gossip on; port 0 picks one (default --address if it is this machine's, else the one from which the first seed is reached)"
	m.trust.add(fs)
	m.logs.Add(fs)
	m.insecure.add(fs)
	cli.StrictVar(fs, &m.strict)
	m.flags = fs
}

// addresses are those that the registration opens.
func (m *memberFlags) addresses() []exposure.Address {
	return gossipAddresses(&m.pool, m.gossip.Addr())
}

func (m *memberFlags) endpoint(ctx context.Context, addr netip.AddrPort) (run.Endpoint, error) {
	e := m.e
	if !m.flags.Changed("health-interval") {
		e.HealthInterval = 0
	}
	if !m.flags.Changed("health-timeout") {
		e.HealthTimeout = 0
	}
	e.Logger = m.logs.Logger()
	if err := cli.CheckFiles(e.Logger.Warn, m.strict, m.flags); err != nil {
		return e, err
	}
	keys, err := m.pool.keys()
	if err != nil {
		return e, err
	}
	if err := checkService(e.Service); err != nil {
		return e, err
	}
	if err := m.pool.check(m.pool.gossip); err != nil {
		return e, err
	}
	if e.Health, err = run.ParseHealth(m.health, addr); err != nil {
		return e, cli.Usage(fmt.Errorf("--health: %w", err))
	}
	trust, err := m.trust.options(e.Service.Name, m.pool.keyFile)
	if err != nil {
		return e, err
	}
	e.Address = addr
	if err := fleet.CheckAddr(addr); err != nil {
		return e, cli.Usage(fmt.Errorf("address of the endpoint: %w", err))
	}
	if m.gossip = m.pool.gossip; !m.gossip.IsValid() {
		if m.gossip, err = upstream.EndpointGossip(ctx, addr, m.pool.join); err != nil {
			return e, option.Rename(err, poolOptions)
		}
	}
	e.Pool = append([]upstream.Option{
		upstream.WithFleet(m.pool.fleet), upstream.WithSeeds(m.pool.join...), upstream.WithKeys(keys...),
		upstream.WithGossip(m.gossip), upstream.WithGossipAdvertise(m.pool.advertise),
		upstream.WithProfile(m.pool.profile), upstream.WithDrainTimeout(m.drainTimeout),
	}, trust...)
	return e, nil
}
