package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

func newServices() *cobra.Command {
	return newLook("services", "List the services and how much of each is served", "  rollcall services\n  rollcall services -o json | jq 'keys'",
		func(ctx context.Context, c *client.Client) (json.RawMessage, drawing, error) {
			got, err := c.Services(ctx)
			return got.JSON, func(w io.Writer, now time.Time) error {
				decided, err := c.Overrides(ctx, "")
				if err != nil {
					return err
				}
				return show.Services(w, now, got.Value, decided.Value)
			}, err
		})
}

func newMembers() *cobra.Command {
	return newLook("members", "List the gossip pool, with the refused members and why", "  rollcall members",
		func(ctx context.Context, c *client.Client) (json.RawMessage, drawing, error) {
			got, err := c.Members(ctx)
			return got.JSON, func(w io.Writer, now time.Time) error { return show.Members(w, now, got.Value) }, err
		})
}

func newClients() *cobra.Command {
	return newLook("clients", "List the Envoys that follow this EDS server, and who is behind", "  rollcall clients\n  rollcall clients --server 10.0.0.5:8080",
		func(ctx context.Context, c *client.Client) (json.RawMessage, drawing, error) {
			got, err := c.Clients(ctx)
			return got.JSON, func(w io.Writer, now time.Time) error { return show.Clients(w, now, got.Value) }, err
		})
}

// drawing writes a table.
type drawing = func(w io.Writer, now time.Time) error

// newLook makes a verb that takes no argument and shows something.
func newLook(use, short, example string, look func(context.Context, *client.Client) (json.RawMessage, drawing, error)) *cobra.Command {
	var flags remoteFlags
	c := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args:              cli.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, _ []string) error {
			document, draw, err := look(ctx, c)
			if err != nil {
				return err
			}
			return flags.print(out, document, draw)
		}),
	}
	flags.add(c)
	return c
}

func newHosts() *cobra.Command {
	var flags remoteFlags
	c := &cobra.Command{
		Use:   "hosts [SERVICE]",
		Short: "List the hosts of a service, or of all",
		Long: `Shows for each host what was seen of it, whether it is served and if not why, how many
Envoys have acknowledged what they were told of it, and what an operator decided.`,
		Example:           "  rollcall hosts\n  rollcall hosts myservice -o yaml",
		Args:              cli.NArgs(0, 1),
		ValidArgsFunction: flags.completeService(),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if len(args) == 0 {
				got, err := c.Services(ctx)
				if err != nil {
					return err
				}
				return flags.print(out, got.JSON, func(w io.Writer, now time.Time) error { return show.Hosts(w, now, got.Value, true) })
			}
			got, err := findService(ctx, c, args[0])
			if err != nil {
				return err
			}
			only := map[string]client.Service{args[0]: got.Value}
			return flags.print(out, got.JSON, func(w io.Writer, now time.Time) error { return show.Hosts(w, now, only, false) })
		}),
	}
	flags.add(c)
	return c
}

func newOverrides() *cobra.Command {
	var flags remoteFlags
	c := &cobra.Command{
		Use:               "overrides [SERVICE]",
		Short:             "List every decision in force: what, by whom, until when and why",
		Example:           "  rollcall overrides\n  rollcall overrides myservice",
		Args:              cli.NArgs(0, 1),
		ValidArgsFunction: flags.completeService(),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			service := ""
			if len(args) == 1 {
				service = args[0]
			}
			got, err := c.Overrides(ctx, service)
			if err != nil {
				return err
			}
			if service != "" && len(got.Value) == 0 {
				if err := misspelt(ctx, c, service); err != nil {
					return err
				}
			}
			return flags.print(out, got.JSON, func(w io.Writer, now time.Time) error { return show.Overrides(w, now, got.Value) })
		}),
	}
	flags.add(c)
	return c
}

func newAudit() *cobra.Command {
	var (
		flags remoteFlags
		since string
		limit int
	)
	c := &cobra.Command{
		Use:               "audit",
		Short:             "List what was decided, newest first",
		Example:           "  rollcall audit --since 24h\n  rollcall audit --since 2026-01-02T15:04:05Z --limit 1000 -o json",
		Args:              cli.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, _ []string) error {
			if limit < 1 {
				return cli.Usage(fmt.Errorf("--limit is %d, give 1 or more", limit))
			}
			got, err := c.Audit(ctx, since, limit)
			if err != nil {
				return err
			}
			return flags.print(out, got.JSON, func(w io.Writer, now time.Time) error { return show.Audit(w, now, got.Value) })
		}),
	}
	flags.add(c)
	c.Flags().StringVar(&since, "since", "", "a moment, or how long ago, such as 90m, 24h or 7d (default as long as it is kept)")
	c.Flags().IntVar(&limit, "limit", 100, "most entries")
	return c
}
