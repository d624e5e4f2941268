package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
)

func newKeygen() *cobra.Command {
	c := &cobra.Command{
		Use:     "keygen",
		Short:   "Make keys",
		Example: "  (umask 077; rollcall keygen gossip > gossip.key)",
		Args:    cli.NoArgs,
		RunE:    cli.Help,
	}
	c.AddCommand(&cobra.Command{
		Use:     "gossip",
		Short:   "Print a new key for the pool's encryption (32 bytes, base64)",
		Example: "  (umask 077; rollcall keygen gossip > gossip.key)",
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			key, err := gossip.NewKey()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), key)
			return err
		},
	})
	c.AddCommand(newKeygenToken())
	c.AddCommand(&cobra.Command{
		Use:   "service NAME",
		Short: "Print a new private key of a service, and to standard error its public line",
		Long: `Makes a service somebody's: its upstreams take the private key with --service-key,
the EDS servers the public line in the file of --service-keys. To replace a key, add
the new line, give the new key to all upstreams, then take the old line away.`,
		Example: "  (umask 077; rollcall keygen service payments > payments.key 2>> service.keys)",
		Args:    cli.NArgs(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return printPair(c, func() (string, string, error) { return keyfile.NewService(args[0]) })
		},
	}, &cobra.Command{
		Use:     "eds",
		Short:   "Print a new private key of the EDS servers, and to standard error the public one",
		Example: "  (umask 077; rollcall keygen eds > eds.key 2> eds.pub)",
		Args:    cli.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return printPair(c, keyfile.NewEDS) },
	})
	return c
}

func printPair(c *cobra.Command, pair func() (private, public string, err error)) error {
	private, public, err := pair()
	if err != nil {
		return cli.Usage(err)
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), private)
	_, errPublic := fmt.Fprintln(c.ErrOrStderr(), public)
	return errors.Join(err, errPublic)
}
