package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

// decideFlags say under which terms something is decided.
type decideFlags struct {
	remoteFlags
	terms client.Terms
	ahead bool // the service need not be known yet
	back  bool // something is taken back
}

func (d *decideFlags) add(c *cobra.Command, lasting bool) {
	d.remoteFlags.add(c)
	d.addActor(c.Flags())
	fs := c.Flags()
	if lasting {
		fs.StringVar(&d.terms.For, "for", "", "how long, such as 90m, 12h or 7d, or forever; one that runs already keeps its end without it")
	}
	fs.StringVar(&d.terms.Reason, "reason", "", "why, for the others and the audit")
	fs.StringVar(&d.terms.IfMatch, "if-match", "", "refuse unless this is the ETag still; auto: unless nothing is decided yet for the host, or where a list is decided for the service")
	for _, name := range []string{"for", "reason", "if-match", "actor"} {
		if fs.Lookup(name) != nil {
			_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
		}
	}
}

func (d *decideFlags) addAhead(c *cobra.Command) {
	c.Flags().BoolVar(&d.ahead, "ahead", false, "decide for an address of a service that nobody has heard of yet")
}

// condition is --if-match as the header has it.
func (d *decideFlags) condition() client.Terms {
	t := d.terms
	if m := t.IfMatch; m != "" && m != "*" && !strings.HasPrefix(m, `"`) && !strings.HasPrefix(m, "W/") {
		t.IfMatch = `"` + m + `"`
	}
	return t
}

func newDrain() *cobra.Command {
	return newState(client.Drain, "Send a host no new requests; those in flight finish", `Envoys send the host no new requests once they have acknowledged the change, and
those in flight finish. The host may be named by the first characters of its
uuid, or by an ip:port, be it one that is not there yet; the service has to be
there, unless --ahead is given.`,
		`  rollcall drain myservice 10.0.0.7:8081 --for 1h --reason "disk errors"
  rollcall drain myservice 1f0c --for 30m --if-match auto`)
}

func newExclude() *cobra.Command {
	return newState(client.Exclude, "Never serve a host, whatever it says", `The host is not served, even if it comes back, until the decision is taken back or
ends by itself.`,
		`  rollcall exclude myservice 10.0.0.7:8081 --reason "wrong build"
  rollcall exclude myservice 1f0c --for 7d`)
}

func newForce() *cobra.Command {
	return newState(client.Force, "Serve a host whatever gossip and probes say", `The host is served although gossip, its probes, a guard or damping say no.`,
		`  rollcall force myservice 10.0.0.7:8081 --for 10m --reason "its health check lies"`)
}

func newState(state client.State, short, long, example string) *cobra.Command {
	var flags decideFlags
	c := &cobra.Command{
		Use:   string(state) + " SERVICE HOST",
		Short: short, Long: long, Example: example,
		Args:              cli.NArgs(2, 2),
		ValidArgsFunction: flags.completeHost(1),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			return flags.decide(ctx, c, out, args[0], args[1], client.Change{"state": state})
		}),
	}
	flags.add(c, true)
	flags.addAhead(c)
	return c
}

func newWeight() *cobra.Command {
	var flags decideFlags
	c := &cobra.Command{
		Use:   "weight SERVICE HOST N|auto",
		Short: "Give a host another share of the requests",
		Long: `Sets the host's load balancing weight, 1 to 65535, whatever the host says of itself.
With auto the decision is taken back and the host's own weight counts again. Weights
are relative to those of the other hosts, which rollcall hosts shows: a host weighs 1
unless it says otherwise, and among such 5 is five times what another gets.`,
		Example: `  rollcall weight myservice 10.0.0.7:8081 5 --for 1h --reason canary
  rollcall weight myservice 1f0c auto`,
		Args:              cli.NArgs(3, 3),
		ValidArgsFunction: flags.completeHost(1),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			change := client.Change{"load_balancing_weight": nil}
			if args[2] == "auto" {
				flags.back = true
			} else {
				n, err := strconv.ParseUint(args[2], 10, 32)
				if err == nil {
					err = fleet.CheckWeight(uint32(n))
				}
				if err != nil {
					return cli.Usage(fmt.Errorf("weight %q: give 1 to %d, or auto", args[2], fleet.MaxWeight))
				}
				change["load_balancing_weight"] = n
			}
			return flags.decide(ctx, c, out, args[0], args[1], change)
		}),
	}
	flags.add(c, true)
	flags.addAhead(c)
	return c
}

// decide changes what is decided for a host and tells what it is then.
func (d *decideFlags) decide(ctx context.Context, c *client.Client, out io.Writer, service, host string, change client.Change) error {
	name, err := resolve(ctx, c, service, host)
	if err != nil {
		return err
	}
	if !d.ahead {
		if err := expected(ctx, c, service, name); err != nil {
			if _, unknown := errors.AsType[cli.NotFoundError](err); unknown {
				err = fmt.Errorf("%w; --ahead decides all the same, for when it comes", err)
			}
			return err
		}
	}
	if d.back {
		if err := decided(ctx, c, service, name); err != nil {
			return err
		}
	}
	got, err := c.Decide(ctx, service, name, change, d.condition())
	if err != nil {
		return first(ctx, err, func(ctx context.Context) (*client.Override, error) { return hostDecision(ctx, c, service, name) })
	}
	return d.told(out, got)
}

func (d *decideFlags) told(out io.Writer, got client.Answer[client.Decided]) error {
	return d.print(out, got.JSON, func(w io.Writer, now time.Time) error { return show.Decided(w, now, got.Value) })
}

func hostDecision(ctx context.Context, c *client.Client, service, host string) (*client.Override, error) {
	got, err := c.Host(ctx, service, host)
	return got.Value.Override, err
}

// first adds to a refusal who was first, as far as that can be found out.
func first(ctx context.Context, err error, find func(context.Context) (*client.Override, error)) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != http.StatusPreconditionFailed {
		return err
	}
	now, findErr := find(ctx)
	if q, ok := errors.AsType[*client.Problem](findErr); ok && q.Status == http.StatusNotFound {
		findErr = nil
	}
	switch {
	case findErr != nil:
		return err
	case now == nil:
		return overtaken{"nothing was changed: a decision was expected to be there, and nothing is decided", err}
	default:
		return overtaken{"nothing was changed, somebody else was first: " + show.Decision(time.Now(), now), err}
	}
}

// overtaken says more of a refusal than the server did.
type overtaken struct {
	said string
	error
}

func (o overtaken) Error() string { return o.said }
func (o overtaken) Unwrap() error { return o.error }
