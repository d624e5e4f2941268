package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/eds"
	"github.com/rollcall-fleet/rollcall/internal/database"
	"github.com/rollcall-fleet/rollcall/internal/heap"
	"github.com/rollcall-fleet/rollcall/internal/option"
)

func newEDS() *cobra.Command {
	var (
		opts   eds.Options
		pool   poolFlags
		logs   cli.LogFlags
		access accessFlags
		trust  edsTrust
		strict bool
	)
	byDefault := eds.DefaultOptions()
	c := &cobra.Command{
		Use:         "eds",
		Annotations: cli.Service,
		Short:       "Run an EDS server: watch the pool and feed Envoys",
		Long: `Joins the gossip pool, turns its upstreams into endpoints, and serves those over
gRPC and REST to every Envoy that asks. Operators overrule it over HTTP; the API
console is at the root of the HTTP address.`,
		Example: `  rollcall eds
  rollcall eds --join 10.0.0.5 --gossip 10.0.0.6:7946 --gossip-key-file gossip.key \
    --xds 10.0.0.6:18000 --xds-cert eds.pem --xds-key eds-key.pem --xds-client-ca ca.pem`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			opts.Logger = logs.Logger()
			if err := cli.CheckFiles(opts.Logger.Warn, strict, c.Flags()); err != nil {
				return err
			}
			if opts.Keys, err = pool.keys(); err != nil {
				return err
			}
			if err := checkEDS(&opts); err != nil {
				return err
			}
			if err := pool.check(pool.gossip); err != nil {
				return err
			}
			opts.Gossip, opts.Advertise, opts.Seeds, opts.Fleet = pool.gossip, pool.advertise, pool.join, pool.fleet
			opts.Profile, opts.KeyFile = pool.profile, pool.keyFile
			stop, err := access.apply(&opts, &pool)
			if err != nil {
				return err
			}
			defer stop()
			if opts.Trust, err = trust.trust(); err != nil {
				return err
			}
			heap.CollectEarly()
			err = option.Rename(eds.Run(c.Context(), opts), edsFlags)
			if _, mistake := errors.AsType[eds.Mistake](err); mistake {
				return cli.Usage(err)
			}
			if _, damaged := errors.AsType[*database.DamagedError](err); damaged {
				return fmt.Errorf("%w: put a backup in its place, or start once with --recover, which moves it aside in --data-dir and takes overrides from the other EDS servers", err)
			}
			return err
		},
	}
	cli.StrictVar(c.Flags(), &strict)
	cli.AddrPortVar(c.Flags(), &opts.HTTP, "http", byDefault.HTTP.String(), "address of the API, the console and REST discovery")
	cli.AddrPortVar(c.Flags(), &opts.XDS, "xds", byDefault.XDS.String(), "address of gRPC discovery")
	cli.AddrPortVar(c.Flags(), &opts.Debug, "debug", "", "loopback address of Go's profiles and gRPC's channelz")
	c.Flags().StringVar(&opts.DataDir, "data-dir", defaultDataDir(), "folder for operators' decisions and remembered members")
	c.Flags().BoolVar(&opts.Recover, "recover", false, "if the database in --data-dir is damaged, move it aside and start with a new one")
	c.Flags().DurationVar(&opts.ProbeInterval, "probe-interval", byDefault.ProbeInterval, "between two probes of an endpoint's health")
	c.Flags().Float64Var(&opts.Guard, "guard", byDefault.Guard, "share of a service that may fall silent at once before it is held as it is; 0 turns it off")
	c.Flags().DurationVar(&opts.GuardHold, "guard-hold", byDefault.GuardHold, "the longest that the guard holds")
	cli.ShutdownTimeoutVar(c.Flags(), &opts.ShutdownTimeout, byDefault.ShutdownTimeout, "for all of a stop: requests in flight to finish, the pool to be left")
	pool.add(c.Flags(), byDefault.Gossip.String(), nil)
	access.add(c.Flags())
	trust.add(c.Flags())
	logs.Add(c.Flags())
	return c
}

// edsFlags are the flags by the options that they set.
var edsFlags = map[string]string{
	"HTTP": "--http", "XDS": "--xds", "Gossip": "--gossip", "Advertise": "--advertise", "Debug": "--debug", "DataDir": "--data-dir",
	"ProbeInterval": "--probe-interval", "Guard": "--guard", "GuardHold": "--guard-hold",
}

// checkEDS finds what is wrong with flags that stand for themselves. A 0 is the default of
// an option, but not of a flag.
func checkEDS(opts *eds.Options) error {
	switch {
	case opts.Guard < 0:
		return cli.Usage(fmt.Errorf("--guard is %v, give a share from 0 (off) to 1", opts.Guard))
	case opts.GuardHold <= 0:
		return cli.Usage(fmt.Errorf("--guard-hold is %s, give a time above 0; to turn the guard off, pass --guard 0", opts.GuardHold))
	case opts.ProbeInterval == 0:
		return cli.Usage(errors.New("--probe-interval is 0s, give 100ms to 1m"))
	}
	opts.Guard = orNone(opts.Guard)
	if err := opts.Check(); err != nil {
		return cli.Usage(option.Rename(err, edsFlags))
	}
	return nil
}

// defaultDataDir follows the XDG base directory specification.
func defaultDataDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "rollcall")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "rollcall-data"
	}
	return filepath.Join(home, ".local", "state", "rollcall")
}
