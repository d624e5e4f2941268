package faults

import (
	"context"
	"fmt"
	"strings"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// database is a port of an upstream's host that no member serves.
const database = "5432"

// Impostors starts two members on host that name a port of victim's: one gossips
// at its own address, the other says that it gossips at the victim's too. It waits
// until the EDS server refuses both.
func (m *Machines) Impostors(ctx context.Context, host, victim int) error {
	target := m.Net.Addr(victim)
	common := []string{"register", "--service", "myservice", "--address", target + ":" + database, "--health", "exec:true",
		"--join", m.Net.Addr(0) + ":7946", "--insecure"}
	for name, more := range map[string][]string{
		"declares":   {"--gossip", m.Net.Addr(host) + ":17946"},
		"advertises": {"--gossip", m.Net.Addr(host) + ":17947", "--advertise", target + ":17947"},
	} {
		if _, err := m.run(host, name, append(common[:len(common):len(common)], more...)...); err != nil {
			return err
		}
	}
	return stage.Eventually(ctx, func(ctx context.Context) error {
		reasons, err := m.refused(ctx)
		if err != nil {
			return err
		}
		all := strings.Join(reasons, "\n")
		if !strings.Contains(all, "--allow-address "+target) || !strings.Contains(all, "has not answered") {
			return fmt.Errorf("the impostors are not refused: %q", reasons)
		}
		return nil
	})
}

// refused are the reasons for which the EDS server refuses members.
func (m *Machines) refused(ctx context.Context) ([]string, error) {
	var got struct {
		Members []struct{ Quarantine string }
	}
	if err := m.API.Get(ctx, "/members", &got); err != nil {
		return nil, err
	}
	var reasons []string
	for _, one := range got.Members {
		if one.Quarantine != "" {
			reasons = append(reasons, one.Quarantine)
		}
	}
	return reasons, nil
}
