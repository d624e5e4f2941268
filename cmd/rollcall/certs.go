package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

func newCerts() *cobra.Command {
	c := &cobra.Command{
		Use:     "certs",
		Short:   "Make certificates for trying out TLS",
		Example: "  rollcall certs init --dir certs",
		Args:    cli.NoArgs,
		RunE:    cli.Help,
	}
	c.AddCommand(newCertsInit())
	return c
}

func newCertsInit() *cobra.Command {
	var opts certs.InitOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a CA and certificates of an EDS server, an Envoy and an operator",
		Long: `Makes ca.pem and, signed by it, eds.pem, envoy.pem and operator.pem, each with its
key. They are for trying it out only: the CA's key lies unprotected beside them.
In production let your own CA or SPIFFE issue certificates.`,
		Example: "  rollcall certs init --dir certs --host eds-1.internal --host 10.0.0.5",
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if opts.Life <= 0 {
				return cli.Usage(fmt.Errorf("--life is %s, give a time above 0", opts.Life))
			}
			if err := certs.Init(opts); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), `These certificates are for trying it out: keep the CA's key of a real fleet elsewhere.

rollcall eds --xds-cert %[1]s/eds.pem --xds-key %[1]s/eds-key.pem --xds-client-ca %[1]s/ca.pem
rollcall envoy run --tls-ca %[1]s/ca.pem --tls-cert %[1]s/envoy.pem --tls-key %[1]s/envoy-key.pem
`, opts.Dir)
			return err
		},
	}
	c.Flags().StringVar(&opts.Dir, "dir", "certs", "folder to write to; made when missing")
	c.Flags().StringSliceVar(&opts.Hosts, "host", nil, "IP addresses and DNS names of the EDS servers, beside the ones of loopback")
	c.Flags().DurationVar(&opts.Life, "life", 90*24*time.Hour, "how long the certificates are good")
	return c
}
