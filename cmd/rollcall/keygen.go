package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/gossip"
)

func newKeygen() *cobra.Command {
	c := &cobra.Command{
		Use:     "keygen",
		Short:   "Make keys",
		Example: "  rollcall keygen gossip > gossip.key",
		Args:    noArgs,
		RunE:    help,
	}
	c.AddCommand(&cobra.Command{
		Use:     "gossip",
		Short:   "Print a new key for the pool's encryption (32 bytes, base64)",
		Example: "  (umask 077; rollcall keygen gossip > gossip.key)",
		Args:    noArgs,
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
	return c
}
