package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo"
)

func newDemo() *cobra.Command {
	var opts demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story on this machine",
		Long: `Starts an EDS server, three upstreams and Envoy on loopback, tells what happens, and
stays up until Ctrl-C. With --once it plays the whole story by itself and checks
each step. It uses these ports of 127.0.0.1: 8080, 18000 and 7946 of the EDS server,
8081 to 8083 of the upstreams, 10000 and 9901 of Envoy.`,
		Example: `  rollcall demo
  rollcall demo --once --api delta-ads`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := envoy.ParseAPI(opts.API); err != nil {
				return cli.Usage(fmt.Errorf("--api: %w", err))
			}
			var err error
			if opts.Envoy, err = findEnvoy(opts.Envoy); err != nil {
				return err
			}
			opts.Out = c.OutOrStdout()
			return demo.Run(c.Context(), opts)
		},
	}
	c.Flags().BoolVar(&opts.Once, "once", false, "play the story, check each step, and end")
	c.Flags().StringVar(&opts.API, "api", "grpc", "how Envoy asks: rest, grpc, delta, ads or delta-ads")
	c.Flags().StringVar(&opts.Envoy, "envoy", "", "the Envoy binary, looked for like rollcall envoy run does")
	return c
}
