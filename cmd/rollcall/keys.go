package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/client/show"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// keysTimeout is for one call: members have 5 s to answer, some calls ask them twice.
const keysTimeout = 20 * time.Second

type keysAnswer = client.Answer[client.Keys]

func newKeys() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "List and rotate the pool's encryption keys while it runs",
		Long: `Asks every member of the pool through an EDS server. To rotate: add a new key, use it,
remove the old one, and give the new key file to members that are yet to start. A
key is named by the beginning of its fingerprint. A member that has a
--gossip-key-file writes its keys back to it.`,
		Example: `  (umask 077; rollcall keygen gossip > new.key)
  rollcall keys add new.key
  rollcall keys list
  rollcall keys use 3f2a
  rollcall keys remove 91c0`,
		Args: noArgs,
		RunE: help,
	}
	c.AddCommand(
		newKeysVerb("list", "  rollcall keys list", "Show the keys' fingerprints, and how many members have and use each", noArgs,
			func(ctx context.Context, c *client.Client, _ []string) (keysAnswer, error) { return c.Keys(ctx) }),
		newKeysVerb("add KEYFILE", "  rollcall keys add new.key", "Have all members accept the first key of a file", nArgs(1, 1),
			func(ctx context.Context, c *client.Client, args []string) (keysAnswer, error) {
				keys, err := gossip.ReadKeyFile(args[0])
				if err != nil {
					return keysAnswer{}, usageError{err}
				}
				return c.AddKey(ctx, keys[0])
			}),
		newKeysVerb("use FINGERPRINT", "  rollcall keys use 3f2a", "Have all members encrypt with a key that all have", oneFingerprint,
			func(ctx context.Context, c *client.Client, args []string) (keysAnswer, error) {
				return c.UseKey(ctx, args[0])
			}),
		newKeysVerb("remove FINGERPRINT", "  rollcall keys remove 91c0", "Have all members forget a key that nobody encrypts with", oneFingerprint,
			func(ctx context.Context, c *client.Client, args []string) (keysAnswer, error) {
				return c.RemoveKey(ctx, args[0])
			}),
	)
	return c
}

// partOfFingerprint is what the beginning of a fingerprint looks like.
var partOfFingerprint = regexp.MustCompile(`^[0-9a-fA-F]{1,16}$`)

func oneFingerprint(c *cobra.Command, args []string) error {
	if err := nArgs(1, 1)(c, args); err != nil {
		return err
	}
	if !partOfFingerprint.MatchString(args[0]) {
		return usageError{fmt.Errorf("%q is not the beginning of a fingerprint, as rollcall keys list shows them", args[0])}
	}
	return nil
}

func newKeysVerb(use, example, short string, args cobra.PositionalArgs, call func(context.Context, *client.Client, []string) (keysAnswer, error)) *cobra.Command {
	flags := remoteFlags{timeout: keysTimeout}
	c := &cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			got, err := call(ctx, c, args)
			if err != nil {
				return err
			}
			if err := flags.print(out, got.JSON, func(w io.Writer, _ time.Time) error { return show.Keys(w, got.Value) }); err != nil {
				return err
			}
			if n := len(got.Value.Problems) + len(got.Value.Silent); n > 0 {
				return fmt.Errorf("%d of %d members have a problem with their keys", n, got.Value.Members)
			}
			return nil
		}),
	}
	flags.add(c)
	if c.Name() != "list" {
		flags.addActor(c.Flags())
		_ = c.RegisterFlagCompletionFunc("actor", cobra.NoFileCompletions)
	}
	return c
}
