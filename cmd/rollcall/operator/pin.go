package operator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

func newPin() *cobra.Command {
	var (
		flags decideFlags
		probe bool
	)
	c := &cobra.Command{
		Use:   "pin SERVICE HOST...",
		Short: "Serve exactly these hosts, whatever gossip says",
		Long: `Replaces what is served by a list. A host of the service keeps its weight and tags;
an ip:port that is not one gets weight 1. A list that is there already is replaced
and keeps its end and its reason unless --for and --reason give others. Refused
when somebody else decides something for the service meanwhile.`,
		Example: `  rollcall pin myservice 10.0.0.7:8081 10.0.0.8:8081 --for 2h --reason "bad deploy"
  rollcall pin myservice 1f0c 77ab --probe`,
		Args:              cli.NArgs(2, -1),
		ValidArgsFunction: flags.completeHost(1 << 20),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			return flags.pin(ctx, c, out, args[0], args[1:], probe)
		}),
	}
	flags.add(c, true)
	c.Flags().BoolVar(&probe, "probe", false, "take a listed host out while GET /healthz on its port fails; without it they are served in any case")
	return c
}

func (d *decideFlags) pin(ctx context.Context, c *client.Client, out io.Writer, service string, names []string, probe bool) error {
	had, err := findService(ctx, c, service)
	if err != nil {
		return err
	}
	var list []client.ListedHost
	for _, name := range names {
		h, err := listed(ctx, c, service, name, had.Value.Hosts)
		if err != nil {
			return err
		}
		h.Probe = probe
		list = append(list, h)
	}
	terms, err := d.kept(ctx, c, service)
	if err != nil {
		return err
	}
	terms.IfMatch = cmp.Or(terms.IfMatch, had.ETag)
	got, err := c.Pin(ctx, service, list, terms)
	if err != nil {
		return first(ctx, err, func(ctx context.Context) (*client.Override, error) { return latest(ctx, c, service) })
	}
	return d.print(out, got.JSON, func(w io.Writer, now time.Time) error {
		return show.Hosts(w, now, map[string]client.Service{service: got.Value}, false)
	})
}

// kept are the terms of a list, which has the end and the reason of the one that it
// replaces unless it is given others.
func (d *decideFlags) kept(ctx context.Context, c *client.Client, service string) (client.Terms, error) {
	terms := d.condition()
	decided, err := c.Overrides(ctx, service)
	if err != nil {
		return terms, err
	}
	for _, o := range decided.Value {
		if o.Host != "" {
			continue
		}
		if terms.For == "" {
			terms.Until = o.Until
		}
		terms.Reason = cmp.Or(terms.Reason, o.Reason)
	}
	return terms, nil
}

// listed is the host called name as a list has it.
func listed(ctx context.Context, c *client.Client, service, name string, hosts []client.Host) (client.ListedHost, error) {
	host, err := resolve(ctx, c, service, name)
	if err != nil {
		return client.ListedHost{}, err
	}
	i := slices.IndexFunc(hosts, func(h client.Host) bool { return h.ID == host || h.Addr().String() == host })
	if i >= 0 {
		h := hosts[i]
		return client.ListedHost{IPAddress: h.IPAddress, Port: h.Port, Tags: h.Tags}, nil
	}
	addr, err := netip.ParseAddrPort(host)
	if err != nil {
		return client.ListedHost{}, cli.NotFound(fmt.Errorf("no host of service %q has the id %s", service, host))
	}
	return client.ListedHost{IPAddress: addr.Addr(), Port: addr.Port()}, nil
}

// latest is the decision about a service, its list or a host, that was made last.
func latest(ctx context.Context, c *client.Client, service string) (*client.Override, error) {
	got, err := c.Overrides(ctx, service)
	if err != nil || len(got.Value) == 0 {
		return nil, err
	}
	last := slices.MaxFunc(got.Value, func(a, b client.Override) int { return a.Since.Compare(b.Since) })
	return &last, nil
}

func newUnpin() *cobra.Command {
	var flags decideFlags
	c := &cobra.Command{
		Use:   "unpin SERVICE",
		Short: "Take back a service's manual list",
		Long:  `Takes back the list of a service, pinned or added to what gossip says. What was decided for single hosts stays.`,
		Example: `  rollcall unpin myservice
  rollcall unpin myservice --reason "deploy rolled back"`,
		Args:              cli.NArgs(1, 1),
		ValidArgsFunction: flags.completeService(),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if err := c.Unpin(ctx, args[0], flags.condition()); err != nil {
				return first(ctx, err, func(ctx context.Context) (*client.Override, error) { return latest(ctx, c, args[0]) })
			}
			return flags.done(out, args[0]+": the list is taken back")
		}),
	}
	flags.add(c, false)
	return c
}
