package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

// keysTimeout is for one call: members have 5 s to answer, some calls ask them twice.
const keysTimeout = 20 * time.Second

type keysAnswer = client.Answer[client.Keys]

func newKeys() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "List and rotate the pool's encryption keys while it runs",
		Long: `Asks every member of the pool through an EDS server. To rotate: add the new key as a
second line to the --gossip-key-file of each member, which follows it; use it; remove the
old one. A key is named by the beginning of its fingerprint, and never sent. Members
write to their files which key they use, and that one is gone. One that does not answer,
or lacks the key, stops a rotation, unless it is named with --without: it is locked out.`,
		Example: `  (umask 077; rollcall keygen gossip >> gossip.key)   # on each machine, the same key
  rollcall keys list
  rollcall keys use 3f2a
  rollcall keys remove 91c0`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(
		newKeysVerb("list", "  rollcall keys list", "Show the keys' fingerprints, and which members have and use each", cli.NoArgs,
			func(ctx context.Context, c *client.Client, _, _ []string) (keysAnswer, error) { return c.Keys(ctx) }),
		newKeysVerb("use FINGERPRINT", "  rollcall keys use 3f2a", "Have all members encrypt with a key that all have", oneFingerprint,
			func(ctx context.Context, c *client.Client, args, without []string) (keysAnswer, error) {
				return c.UseKey(ctx, args[0], without...)
			}),
		newKeysVerb("remove FINGERPRINT", "  rollcall keys remove 91c0", "Have all members forget a key that nobody encrypts with", oneFingerprint,
			func(ctx context.Context, c *client.Client, args, without []string) (keysAnswer, error) {
				return c.RemoveKey(ctx, args[0], without...)
			}),
		&cobra.Command{Use: "add", Hidden: true, Example: "  rollcall keys add new.key", Short: "Of earlier versions: keys do not travel", DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
			return cli.Usage(errors.New("keys do not travel over the network any more: add the key as a line to the --gossip-key-file of each member, which follows it, then rollcall keys use"))
		}},
	)
	return c
}

// partOfFingerprint is what the beginning of a fingerprint looks like.
var partOfFingerprint = regexp.MustCompile(`^[0-9a-fA-F]{1,16}$`)

func oneFingerprint(c *cobra.Command, args []string) error {
	if err := cli.NArgs(1, 1)(c, args); err != nil {
		return err
	}
	if !partOfFingerprint.MatchString(args[0]) {
		return cli.Usage(fmt.Errorf("%q is not the beginning of a fingerprint, as rollcall keys list shows them", args[0]))
	}
	return nil
}

func newKeysVerb(use, example, short string, args cobra.PositionalArgs, call func(ctx context.Context, c *client.Client, args, without []string) (keysAnswer, error)) *cobra.Command {
	flags := remoteFlags{timeout: keysTimeout}
	var (
		without []string
		yes     bool
	)
	c := &cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if len(without) > 0 && !yes {
				return cli.Usage(fmt.Errorf("--without locks %s out: pass --yes, too, if that is meant", strings.Join(without, ", ")))
			}
			got, err := call(ctx, c, args, without)
			if err != nil {
				return err
			}
			if err := flags.print(out, got.JSON, func(w io.Writer, _ time.Time) error { return show.Keys(w, got.Value) }); err != nil {
				return err
			}
			if n := troubled(got.Value, without); n > 0 {
				return fmt.Errorf("%d of %d members have a problem with their keys", n, got.Value.Members)
			}
			return nil
		}),
	}
	flags.add(c)
	if c.Name() != "list" {
		c.Flags().StringSliceVar(&without, "without", nil, "id of a member that may be locked out, repeated for several; never an EDS server that answers")
		c.Flags().BoolVar(&yes, "yes", false, "lock out those of --without")
		flags.addActor(c.Flags())
		_ = c.RegisterFlagCompletionFunc("actor", cobra.NoFileCompletions)
	}
	return c
}

// troubled is how many members have a problem, or say nothing, that are not given up.
func troubled(k client.Keys, without []string) (n int) {
	for _, p := range k.Problems {
		if !slices.Contains(without, p.Member) {
			n++
		}
	}
	for _, id := range k.Silent {
		if !slices.Contains(without, id) {
			n++
		}
	}
	return n
}
