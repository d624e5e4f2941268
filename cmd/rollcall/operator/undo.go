package operator

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

func newUndrain() *cobra.Command {
	var flags decideFlags
	c := &cobra.Command{
		Use:     "undrain SERVICE HOST",
		Aliases: []string{"include"},
		Short:   "Take back a drain, an exclude or a force",
		Long: `Takes back what was decided about serving the host, whether it was decided for its
uuid or for its ip:port. A weight and tags that were decided stay: rollcall undo
takes back everything.`,
		Example: `  rollcall undrain myservice 10.0.0.7:8081
  rollcall undrain myservice 1f0c --reason "new disk"`,
		Args:              cli.NArgs(2, 2),
		ValidArgsFunction: flags.completeHost(1),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			return flags.undrain(ctx, c, out, args[0], args[1])
		}),
	}
	flags.add(c, false)
	return c
}

func (d *decideFlags) undrain(ctx context.Context, c *client.Client, out io.Writer, service, host string) error {
	name, err := resolve(ctx, c, service, host)
	if err != nil {
		return err
	}
	if err := expected(ctx, c, service, name); err != nil {
		return err
	}
	if err := decided(ctx, c, service, name); err != nil {
		return err
	}
	stateless := client.Change{"state": nil}
	got, err := c.Decide(ctx, service, name, stateless, d.condition())
	if err != nil {
		return first(ctx, err, func(ctx context.Context) (*client.Override, error) { return hostDecision(ctx, c, service, name) })
	}
	if e := got.Value.Endpoint; e != nil && e.Override != nil && e.Override.State != "" && e.Override.Host != name {
		other, err := c.Decide(ctx, service, e.Override.Host, stateless, client.Terms{Reason: d.terms.Reason})
		if err != nil {
			return fmt.Errorf("as %s it is decided still: %w", e.Override.Host, err)
		}
		got = other
	}
	return d.told(out, got)
}

func newUndo() *cobra.Command {
	var flags decideFlags
	c := &cobra.Command{
		Use:   "undo SERVICE HOST | undo ID",
		Short: "Take back everything decided for a host, or one decision",
		Long: `Takes back all that was decided for a host, so that gossip and probes alone count
again; or, with an id of rollcall overrides, that decision.`,
		Example: `  rollcall undo myservice 10.0.0.7:8081 --reason "new disk"
  rollcall undo 3f2a9c5d71e08b46`,
		Args:              cli.NArgs(1, 2),
		ValidArgsFunction: flags.completeHost(1),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if len(args) == 1 {
				return flags.revoke(ctx, c, out, args[0])
			}
			return flags.undo(ctx, c, out, args[0], args[1])
		}),
	}
	flags.add(c, false)
	return c
}

func (d *decideFlags) undo(ctx context.Context, c *client.Client, out io.Writer, service, host string) error {
	name, err := resolve(ctx, c, service, host)
	if err != nil {
		return err
	}
	if err := c.Undo(ctx, service, name, d.condition()); err != nil {
		return first(ctx, err, func(ctx context.Context) (*client.Override, error) { return hostDecision(ctx, c, service, name) })
	}
	return d.done(out, fmt.Sprintf("%s %s: nothing is decided any more", service, name))
}

func (d *decideFlags) revoke(ctx context.Context, c *client.Client, out io.Writer, id string) error {
	if err := c.Revoke(ctx, id, d.condition()); err != nil {
		return first(ctx, err, func(ctx context.Context) (*client.Override, error) {
			got, err := c.Override(ctx, id)
			if err != nil {
				return nil, err
			}
			return &got.Value, nil
		})
	}
	return d.done(out, id+": taken back")
}
