package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/heap"
	"github.com/rollcall-fleet/rollcall/internal/option"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/internal/run"
)

func newRun() *cobra.Command {
	var (
		opts    run.Options
		member  memberFlags
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		port    uint16
		restart string
	)
	c := &cobra.Command{
		Use:         "run [flags] -- PROGRAM [ARGUMENT]...",
		Annotations: cli.Service,
		Short:       "Run any program as an upstream",
		Long: `Starts a program, registers it once its health check passes, and publishes what the
check says from then on: two failures make it unhealthy, one success makes it
healthy. EDS servers ask this process, not the program. SIGTERM and SIGINT drain it
before it gets SIGTERM, so that no request is lost; a second one cuts the drain short,
a third one kills. SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT and SIGWINCH are
passed on. The exit code is the program's.

The health check is one of
  /path          GET /path on the port answers 2xx
  URL            GET of an http or https URL answers 2xx
  tcp            the port accepts connections
  grpc           grpc.health.v1 on the port says SERVING
  exec:COMMAND   the shell command ends with code 0`,
		Example: `  rollcall run --service myservice --port 9000 --health /healthz -- python3 app.py
  rollcall run --service users --port 9001 --health grpc --restart on-failure -- ./users --port 9001`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usage(errors.New("no program to run: give it after --"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := cli.Required(c.Flags(), "service", "port"); err != nil {
				return err
			}
			opts.Endpoint, err = member.endpoint(c.Context(), netip.AddrPortFrom(address, port))
			if err != nil {
				return err
			}
			stop, err := member.insecure.check(opts.Endpoint.Logger, member.addresses()...)
			if err != nil {
				return err
			}
			defer stop()
			switch restart {
			case "never":
			case "on-failure":
				opts.RestartOnFailure = true
			default:
				return cli.Usage(fmt.Errorf("--restart %q is neither never nor on-failure", restart))
			}
			opts.Program = args
			opts.Stdin, opts.Stdout, opts.Stderr = os.Stdin, os.Stdout, os.Stderr
			heap.CollectLate()
			return runProgram(c.Context(), opts)
		},
	}
	fs := c.Flags()
	fs.SetInterspersed(false) // what follows the program's name is the program's
	fs.Uint16VarP(&port, "port", "p", 0, "port that the program serves on")
	cli.IPVar(fs, &address, "address", "IP address that it serves on, the one Envoy connects to")
	member.add(fs)
	cli.ShutdownTimeoutVar(fs, &opts.StopTimeout, run.DefaultStopTimeout, "for the program to end after the drain, between SIGTERM and SIGKILL")
	cli.FormerVar(fs, &opts.StopTimeout, "stop-timeout", "shutdown-timeout", "former name of --shutdown-timeout")
	_ = fs.MarkDeprecated("stop-timeout", "use --shutdown-timeout")
	fs.StringVar(&restart, "restart", "never", "never, or on-failure: start the program again when its exit code is not 0")
	return c
}

// runProgram hears all signals itself, since the second and the third SIGTERM have
// a meaning too.
func runProgram(ctx context.Context, opts run.Options) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, // what stops; the rest is for the program
		syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH)
	defer signal.Stop(signals)
	opts.Signals = signals
	code, err := run.Run(ctx, opts)
	err = option.Rename(err, poolOptions)
	if err != nil || code != 0 {
		return cli.ExitError{Code: code, Why: err}
	}
	return nil
}
