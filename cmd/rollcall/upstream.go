package main

import (
	"fmt"
	"net/netip"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/heap"
	"github.com/rollcall-fleet/rollcall/internal/option"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/internal/hello"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func newUpstream() *cobra.Command {
	var (
		opts     hello.Options
		pool     poolFlags
		logs     cli.LogFlags
		insecure insecureFlag
		port     uint16
		address  = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		listen   netip.Addr
		trust    memberTrust
		strict   bool
	)
	c := &cobra.Command{
		Use:         "upstream",
		Annotations: cli.Service,
		Short:       "Run a sample upstream that registers itself",
		Long: `Serves its uuid at / and its health at /healthz, joins the gossip pool and says
what it serves. SIGTERM drains it: no request is lost.`,
		Example: `  rollcall upstream -p 8081
  rollcall upstream -p 0 --service payments --weight 50 --az us-central1-a --tag version=2
  rollcall upstream -p 8081 --address 10.0.0.7 --gossip 10.0.0.7:7946 --join 10.0.0.5,10.0.0.6 --gossip-key-file gossip.key`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			opts.Logger = logs.Logger()
			if err := cli.CheckFiles(opts.Logger.Warn, strict, c.Flags()); err != nil {
				return err
			}
			if opts.Keys, err = pool.keys(); err != nil {
				return err
			}
			if err := checkService(opts.Service); err != nil {
				return err
			}
			opts.Listen = netip.AddrPortFrom(address, port)
			if listen.IsValid() {
				opts.Listen, opts.Advertise = netip.AddrPortFrom(listen, port), netip.AddrPortFrom(address, 0)
			}
			if opts.Gossip = pool.gossip; !opts.Gossip.IsValid() {
				opts.Gossip = netip.AddrPortFrom(address, 0)
			}
			if opts.Listen.Addr().IsUnspecified() && !opts.Advertise.IsValid() {
				return cli.Usage(fmt.Errorf("--address %s means every interface, and Envoy cannot reach that: pass --address with the one it can reach, and --listen %[1]s", address))
			}
			if err := pool.check(opts.Gossip); err != nil {
				return err
			}
			opts.GossipAdvertise, opts.Seeds, opts.Fleet = pool.advertise, pool.join, pool.fleet
			opts.Profile = pool.profile
			stop, err := insecure.check(opts.Logger, gossipAddresses(&pool, address)...)
			if err != nil {
				return err
			}
			defer stop()
			if opts.Trust, err = trust.options(opts.Service.Name, pool.keyFile); err != nil {
				return err
			}
			heap.CollectLate()
			return option.Rename(hello.Run(c.Context(), opts), helloOptions)
		},
	}
	fs := c.Flags()
	fs.Uint16VarP(&port, "port", "p", 8081, "port to serve on; 0 picks one")
	cli.IPVar(fs, &address, "address", "IP address to serve on, the one Envoy connects to")
	cli.IPVar(fs, &listen, "listen", "IP address to listen on, when it is not --address (such as 0.0.0.0)")
	serviceFlags(fs, &opts.Service, "myservice")
	fs.DurationVar(&opts.DrainTimeout, "drain-timeout", upstream.DefaultDrainTimeout, "how long to wait at most until no Envoy sends requests any more")
	cli.ShutdownTimeoutVar(fs, &opts.ShutdownTimeout, upstream.DefaultShutdownTimeout, "for requests in flight to finish after the drain")
	pool.add(fs, "", []string{"127.0.0.1:7946"})
	fs.Lookup("gossip").Usage = "address to gossip on; port 0 picks one (default --address:0)"
	trust.add(fs)
	logs.Add(fs)
	insecure.add(fs)
	cli.StrictVar(fs, &strict)
	return c
}

// helloOptions are the flags by the options that they set.
var helloOptions = map[string]string{"Advertise": "--address", "WithGossip": "--gossip", "WithGossipAdvertise": "--advertise"}
