package operator

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

// partOfID is what the beginning of a uuid looks like.
var partOfID = regexp.MustCompile(`^[0-9a-f-]{4,35}$`)

// resolve turns what a person calls a host of a service into a uuid or ip:port.
func resolve(ctx context.Context, c *client.Client, service, host string) (string, error) {
	name := strings.ToLower(host)
	if addr, err := netip.ParseAddrPort(name); err == nil {
		return addr.String(), nil
	}
	if id, err := uuid.Parse(name); err == nil && len(name) == len(id.String()) {
		return name, nil
	}
	if !partOfID.MatchString(name) {
		return "", cli.Usage(fmt.Errorf("host %q is neither a uuid, nor its first 4 or more characters, nor an ip:port", host))
	}
	got, err := findService(ctx, c, service)
	if err != nil {
		return "", err
	}
	ids := matching(name, got.Value.Hosts)
	if len(ids) == 0 {
		// Of a process that is not shown any more a decision may be left.
		decided, err := c.Overrides(ctx, service)
		if err != nil {
			return "", err
		}
		for _, o := range decided.Value {
			if strings.HasPrefix(o.Host, name) && uuid.Validate(o.Host) == nil {
				ids = append(ids, o.Host)
			}
		}
	}
	switch len(ids) {
	case 0:
		return "", cli.NotFound(fmt.Errorf("no host of service %q has an id that begins with %s", service, name))
	case 1:
		return ids[0], nil
	default:
		return "", cli.Usage(fmt.Errorf("%s is ambiguous, it begins the ids of %d hosts: %s", name, len(ids), strings.Join(ids[:min(len(ids), 5)], ", ")))
	}
}

// matching returns the ids that begin with prefix, each once, sorted.
func matching(prefix string, hosts []client.Host) []string {
	var ids []string
	for _, h := range hosts {
		if h.ID != "" && strings.HasPrefix(h.ID, prefix) {
			ids = append(ids, h.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
