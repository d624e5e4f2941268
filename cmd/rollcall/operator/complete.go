package operator

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

// completionTimeout bounds what a person waits for after pressing tab.
const completionTimeout = time.Second

type completion = func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completing offers what find finds at a server, and nothing when none answers.
func (r *remoteFlags) completing(find func(ctx context.Context, c *client.Client, args []string) []string) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if cli.FromEnvironment(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := r.connect(completionTimeout)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		return find(ctx, c, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeService offers services as the only argument.
func (r *remoteFlags) completeService() completion {
	return r.completing(func(ctx context.Context, c *client.Client, args []string) []string {
		if len(args) > 0 {
			return nil
		}
		return services(ctx, c)
	})
}

// completeHost offers a service, then its hosts, most of them at most.
func (r *remoteFlags) completeHost(most int) completion {
	return r.completing(func(ctx context.Context, c *client.Client, args []string) []string {
		switch {
		case len(args) == 0:
			return services(ctx, c)
		case len(args) > most:
			return nil
		}
		got, err := c.Service(ctx, args[0])
		if err != nil {
			return nil
		}
		var hosts []string
		for _, h := range got.Value.Hosts {
			hosts = append(hosts, cobra.CompletionWithDesc(h.Addr().String(), h.State))
			if h.ID != "" {
				hosts = append(hosts, cobra.CompletionWithDesc(h.ID, h.Addr().String()+" "+h.State))
			}
		}
		return hosts
	})
}

func services(ctx context.Context, c *client.Client) []string {
	got, err := c.Services(ctx)
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(got.Value))
}
