package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/exposure"
	"github.com/rollcall-fleet/rollcall/internal/option"
)

func newEnvoy() *cobra.Command {
	c := &cobra.Command{
		Use:   "envoy",
		Short: "Write a bootstrap for Envoy, or run one",
		Example: `  rollcall envoy bootstrap --api delta-ads > envoy.yaml
  rollcall envoy run`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(newEnvoyBootstrap(), newEnvoyRun())
	return c
}

func newEnvoyBootstrap() *cobra.Command {
	var flags bootstrapFlags
	c := &cobra.Command{
		Use:   "bootstrap",
		Short: "Write a bootstrap to standard output",
		Long: `Writes a bootstrap with which an Envoy gets its endpoints from the EDS servers. Its
listener sends every request to the first service; further services are reached
by their name as Host.`,
		Example: `  rollcall envoy bootstrap --api rest
  rollcall envoy bootstrap --api delta-ads --service payments --service users --eds 10.0.0.5:18000 \
    --tls-ca ca.pem --tls-cert envoy.pem --tls-key envoy-key.pem`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			yaml, err := flags.bootstrap(c.Flags())
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(yaml)
			return err
		},
	}
	flags.add(c.Flags())
	return c
}

func newEnvoyRun() *cobra.Command {
	var (
		flags bootstrapFlags
		opts  envoy.RunOptions
		path  string

		insecure bool
	)
	c := &cobra.Command{
		Use:         "run",
		Annotations: cli.Service,
		Short:       "Run Envoy with such a bootstrap",
		Long: `Runs Envoy with the bootstrap that rollcall envoy bootstrap writes. Envoy is looked
for at --envoy, $ENVOY, on the PATH, and in the cache that make envoy fills.`,
		Example: `  rollcall envoy run
  rollcall envoy run --api rest --refresh-delay 100ms --listen 127.0.0.1:10001 --admin 127.0.0.1:9902`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			warn := func(said string, _ ...any) { fmt.Fprintln(c.ErrOrStderr(), "rollcall: "+said) }
			if err := cli.CheckFiles(warn, false, c.Flags()); err != nil {
				return err
			}
			if opts.BootstrapFile == "" {
				if _, err := exposure.Check(insecure, exposure.Address{Flag: "--admin", Addr: flags.opts.Admin.Addr(), Lock: lockAdmin}); err != nil {
					return cli.Usage(err)
				}
				opts.Bootstrap, err = flags.bootstrap(c.Flags())
			} else {
				err = flags.unused(c.Flags())
			}
			if err != nil {
				return err
			}
			if opts.Path, err = findEnvoy(path); err != nil {
				return err
			}
			if opts.BootstrapFile == "" { // Envoy says nothing of it itself, unless --log-level is info
				opts.Ready = func(admin string) {
					fmt.Fprintf(c.ErrOrStderr(), "rollcall: Envoy takes requests at %s, its admin interface is at http://%s/\n", flags.opts.Listener, admin)
				}
			}
			opts.Stdout, opts.Stderr = os.Stdout, cli.Stderr // a log that blocks would stop Envoy's main thread
			// A second signal must not end this process before Run has removed its files.
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
			defer signal.Stop(signals)
			return envoy.Run(c.Context(), opts)
		},
	}
	flags.add(c.Flags())
	c.Flags().BoolVar(&insecure, "insecure", false, "open Envoy's admin interface, which has no lock, to other machines")
	c.Flags().StringVar(&path, "envoy", "", "the Envoy binary")
	cli.ShutdownTimeoutVar(c.Flags(), &opts.StopTimeout, envoy.DefaultStopTimeout, "for Envoy to end, between SIGTERM and SIGKILL")
	cli.FileVar(c.Flags(), &opts.BootstrapFile, "bootstrap", "a bootstrap file to run with, in place of what the flags say", cli.Plain)
	cli.ChoiceVar(c.Flags(), &opts.LogLevel, "log-level", envoy.DefaultLogLevel, "Envoy's own log level: trace, debug, info, warning, error, critical or off", envoy.LogLevels()...)
	return c
}

// lockAdmin is what to do about an open admin interface: it can stop Envoy, and shows what
// passes through it.
const lockAdmin = "--admin with a loopback address, since Envoy's admin interface has no lock"

// findEnvoy is envoy.Find, of which a place that was named and has none is a mistake.
func findEnvoy(path string) (string, error) {
	found, err := envoy.Find(path)
	err = option.Rename(err, map[string]string{"Path": "--envoy"})
	if err != nil && (path != "" || os.Getenv("ENVOY") != "") {
		err = cli.Usage(err)
	}
	return found, err
}

// bootstrapFlags say what a bootstrap holds.
type bootstrapFlags struct {
	api  string
	opts envoy.Options
}

func (b *bootstrapFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&b.api, "api", string(envoy.GRPC), "how Envoy asks: rest, grpc, delta, ads or delta-ads")
	fs.StringSliceVar(&b.opts.EDS, "eds", nil, fmt.Sprintf("EDS servers, as host:port (default %s, with --api rest %s)", envoy.DefaultGRPCServer, envoy.DefaultRESTServer))
	fs.StringSliceVar(&b.opts.Services, "service", []string{envoy.DefaultService}, "services; the first one is what every Host reaches")
	fs.StringVar(&b.opts.NodeID, "node-id", envoy.DefaultNodeID, "how this Envoy is called at the EDS servers")
	fs.StringVar(&b.opts.NodeCluster, "node-cluster", envoy.DefaultNodeCluster, "the group of Envoys it belongs to")
	cli.AddrPortVar(fs, &b.opts.Listener, "listen", envoy.DefaultListener, "address that takes requests")
	cli.AddrPortVar(fs, &b.opts.Admin, "admin", envoy.DefaultAdmin, "address of Envoy's admin interface")
	fs.DurationVar(&b.opts.RefreshDelay, "refresh-delay", envoy.DefaultRefreshDelay, "between two polls, with --api rest")
	fs.DurationVar(&b.opts.ConnectTimeout, "connect-timeout", envoy.DefaultConnectTimeout, "for a connection to an endpoint or an EDS server")
	cli.FileVar(fs, &b.opts.TLS.CA, "tls-ca", "PEM certificates of those who sign the EDS servers' certificates; turns TLS on", cli.Certificate)
	cli.FileVar(fs, &b.opts.TLS.Cert, "tls-cert", "PEM certificate chain that Envoy shows the EDS servers", cli.Certificate)
	cli.FileVar(fs, &b.opts.TLS.Key, "tls-key", "PEM key of --tls-cert", cli.Secret)
	fs.StringVar(&b.opts.TLS.Name, "tls-name", "", "name in the EDS servers' certificates (default the host in --eds)")
	fs.BoolVar(&b.opts.NoRetries, "no-retries", false, "pass every failure on to the caller")
	fs.BoolVar(&b.opts.AccessLog, "access-log", false, "log each request to standard output")
}

// unused returns an error when a flag is given that a bootstrap file takes no notice of.
func (b *bootstrapFlags) unused(fs *pflag.FlagSet) error {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(bootstrapFlags).add(own)
	var both []string
	own.VisitAll(func(f *pflag.Flag) {
		if fs.Changed(f.Name) {
			both = append(both, "--"+f.Name)
		}
	})
	if len(both) > 0 {
		return cli.Usage(fmt.Errorf("%s has no effect with --bootstrap, whose file says it: give one or the other", strings.Join(both, ", ")))
	}
	return nil
}

func (b *bootstrapFlags) bootstrap(fs *pflag.FlagSet) ([]byte, error) {
	if fs.Changed("service") && (len(b.opts.Services) == 0 || slices.Contains(b.opts.Services, "")) {
		return nil, cli.Usage(errors.New("--service is empty, give the name of a service"))
	}
	if fs.Changed("eds") && (len(b.opts.EDS) == 0 || slices.Contains(b.opts.EDS, "")) {
		return nil, cli.Usage(errors.New("--eds is empty, give an EDS server as host:port"))
	}
	api, err := envoy.ParseAPI(b.api)
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("--api: %w", err))
	}
	b.opts.API = api
	yaml, err := envoy.Bootstrap(b.opts)
	if err != nil { // all of it is what the flags say
		return nil, cli.Usage(err)
	}
	return yaml, nil
}
