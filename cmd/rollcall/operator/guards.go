package operator

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

func newGuards() *cobra.Command {
	c := newLook("guards", "List the services that are held because too much fell silent at once", "  rollcall guards\n  rollcall guards release myservice",
		func(ctx context.Context, c *client.Client) (json.RawMessage, drawing, error) {
			got, err := c.Guards(ctx)
			return got.JSON, func(w io.Writer, now time.Time) error { return show.Guards(w, now, got.Value) }, err
		})
	c.Long = "Lists the services of which hosts are served although they are silent, by the guard\nof the EDS server that answers: each has its own."
	c.AddCommand(newGuardsRelease())
	return c
}

func newGuardsRelease() *cobra.Command {
	var flags remoteFlags
	c := &cobra.Command{
		Use:   "release SERVICE",
		Short: "Let the guard of a service go, since its silent hosts are dead",
		Long: `Takes the silent hosts of a service out of the Envoys of the EDS server that answers.
Each EDS server has a guard of its own: say so to each that holds.`,
		Example:           "  rollcall guards release myservice\n  rollcall guards release myservice --server 10.0.0.5",
		Args:              cli.NArgs(1, 1),
		ValidArgsFunction: flags.completeService(),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if err := c.ReleaseGuard(ctx, args[0]); err != nil {
				return err
			}
			return flags.done(out, args[0]+": the guard has let go")
		}),
	}
	flags.add(c)
	flags.addActor(c.Flags())
	_ = c.RegisterFlagCompletionFunc("actor", cobra.NoFileCompletions)
	return c
}
