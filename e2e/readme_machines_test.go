package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/demo/stage"
	"github.com/rollcall-fleet/rollcall/e2e/netns"
)

// TestReadmeMoreThanOneMachine does on three hosts what README.md says, at the
// addresses that they have: what is refused at addresses that others can reach would
// be refused here.
func TestReadmeMoreThanOneMachine(t *testing.T) {
	t.Parallel()
	network, err := netns.New(within(t, patience), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	hosts := map[string]int{"10.0.0.5": 0, "10.0.0.7": 1, "10.0.0.8": 2}
	var renames []string
	for addr, i := range hosts {
		renames = append(renames, addr, network.Addr(i))
	}
	home := t.TempDir()
	on := func(host int, prefix string) *stage.Process {
		t.Helper()
		line := strings.NewReplacer(renames...).Replace(readmeStarting(t, prefix)[0])
		program, args := network.Command(host, "", "")
		return terminal(t, home, strings.TrimSpace(program+" "+strings.Join(args, " "))+" "+line)
	}
	for _, prefix := range []string{"(umask 077; rollcall keygen gossip", "rollcall certs init"} {
		line := strings.NewReplacer(renames...).Replace(readmeStarting(t, prefix)[0])
		if err := terminal(t, home, "sh -c '"+line+"'").Wait(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	well := stage.WellKnown() // every host has these ports to itself
	api := stage.NewAPIVia(well.HTTP, network.Dialer(0))
	if err := on(0, "rollcall eds --gossip").Await(within(t, patience), api.Ready); err != nil {
		t.Fatal(err)
	}
	err = on(1, "rollcall upstream -p 8081 --address").Await(within(t, patience), func(ctx context.Context) error {
		s, err := api.Service(ctx, "myservice")
		if err == nil && (len(s.Hosts) != 1 || s.Hosts[0].IP != network.Addr(1)) {
			err = fmt.Errorf("want one host, %s, got %+v", network.Addr(1), s.Hosts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := stage.NewAdminVia(well.Admin, network.Dialer(2))
	err = on(2, "rollcall envoy run --eds").Await(within(t, patience), func(ctx context.Context) error {
		served, err := admin.Healthy(ctx, stage.Backend)
		if err == nil && len(served) != 1 {
			err = fmt.Errorf("envoy has %v", served)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
