package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

// findService returns a service. When it is not there, and nothing is decided for a
// host of it either, the error is a cli.NotFoundError that names some that are.
func findService(ctx context.Context, c *client.Client, name string) (client.Answer[client.Service], error) {
	got, err := c.Service(ctx, name)
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != http.StatusNotFound {
		return got, err
	}
	if decided, e := c.Overrides(ctx, name); e != nil || len(decided.Value) > 0 {
		return got, err
	}
	there, listErr := c.Services(ctx)
	if listErr != nil {
		return got, err
	}
	return got, cli.NotFound(fmt.Errorf("%w: %s", err, alike(name, slices.Collect(maps.Keys(there.Value)))))
}

// mostAlike is how many names an error suggests.
const mostAlike = 5

// alike tells of the names that are most like one.
func alike(name string, names []string) string {
	if len(names) == 0 {
		return "there is none at all"
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(name, a), distance(name, b)), cmp.Compare(a, b))
	})
	there := "there is " + cli.Quoted(names[:min(len(names), mostAlike)], ", ")
	if more := len(names) - mostAlike; more > 0 {
		there += fmt.Sprintf(" and %d more", more)
	}
	return there
}

// distance is how many bytes have to be put in, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of the part of a so far to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// expected refuses an address of an unknown service. The server would accept it: the
// override would wait for the address, while the endpoint that was meant is served.
func expected(ctx context.Context, c *client.Client, service, host string) error {
	if _, err := netip.ParseAddrPort(host); err != nil {
		return nil // the server says whether it has that process
	}
	return misspelt(ctx, c, service)
}

// misspelt returns an error when a service is unknown: it has neither members nor
// overrides, as far as a server can say.
func misspelt(ctx context.Context, c *client.Client, service string) error {
	_, err := findService(ctx, c, service)
	if _, unknown := errors.AsType[cli.NotFoundError](err); unknown {
		return err
	}
	if p, ok := errors.AsType[*client.Problem](err); ok && (p.Status == http.StatusServiceUnavailable || p.Status == http.StatusNotFound) {
		return nil // the server cannot tell yet, or the service waits for its first endpoint
	}
	return err
}

// decided refuses to revoke an override that does not exist, for an unknown endpoint.
func decided(ctx context.Context, c *client.Client, service, host string) error {
	_, err := c.Host(ctx, service, host)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusNotFound {
		return err
	}
	return nil // the next request fails with the reason
}
