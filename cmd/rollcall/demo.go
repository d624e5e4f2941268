package main

import (
	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/demo"
)

func newDemo() *cobra.Command {
	var opts demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story on this machine",
		Long: `Starts an EDS server, three upstreams and Envoy on loopback, tells what happens, and
stays up until Ctrl-C. With --once it plays the whole story by itself and checks
each step.`,
		Example: `  rollcall demo
  rollcall demo --once --api delta-ads`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			opts.Out = c.OutOrStdout()
			return demo.Run(c.Context(), opts)
		},
	}
	c.Flags().BoolVar(&opts.Once, "once", false, "play the story, check each step, and end")
	c.Flags().StringVar(&opts.API, "api", "grpc", "how Envoy asks: rest, grpc, delta, ads or delta-ads")
	c.Flags().StringVar(&opts.Envoy, "envoy", "", "the Envoy binary, looked for like rollcall envoy run does")
	return c
}
