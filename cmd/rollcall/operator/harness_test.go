package operator

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/eds/edstest"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rollcall-fleet/rollcall/cmd/rollcall/cli.(*unblocked).run")) // as long as the process
}

// The ids of the members in a rig.
const (
	firstID  = "1f0c0000-2222-4333-8444-555555555555"
	secondID = "1f0cffff-2222-4333-8444-555555555555"
	otherID  = "77ab0000-2222-4333-8444-555555555555"
)

// rig is the API on a real store, with two hosts of "web" and one of "other".
type rig struct {
	*testing.T
	*edstest.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t, edstest.Start(t, member(firstID, "web", 8081), member(secondID, "web", 8082), member(otherID, "other", 8083))}
	t.Setenv("ROLLCALL_SERVER", r.URL)
	t.Setenv("USER", "ann")
	return r
}

// overrides are those in force, as the API has them.
func (r *rig) overrides() []client.Override {
	r.Helper()
	c, err := client.New(client.Options{Servers: []string{r.URL}})
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	list, err := c.Overrides(r.Context(), "")
	if err != nil {
		r.Fatal(err)
	}
	return list.Value
}

func member(id, service string, port uint16) *fleet.Member {
	started := time.Now().Add(-time.Hour)
	return &fleet.Member{
		ID: uuid.MustParse(id), Role: fleet.RoleUpstream, Started: started, Version: fleet.FormatVersion, Service: service,
		Endpoint: fleet.Endpoint{
			Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: 10, Health: fleet.Healthy,
			Locality: fleet.Locality{Zone: "z1"}, Tags: map[string]string{"version": "2"},
		},
		Gossip: netip.MustParseAddrPort("127.0.0.1:7946"), Liveness: fleet.Alive, Since: started,
	}
}

// newRoot is rollcall with the commands of this package alone.
func newRoot() *cobra.Command {
	root := cli.Root()
	cli.Add(root, cli.GroupOperate, Commands()...)
	cli.StrictCompletion(root)
	return root
}

// result is how a run of rollcall ended.
type result struct {
	out  string
	code int
	err  error
}

// rollcall runs the command with these arguments.
func rollcall(ctx context.Context, args ...string) result {
	var out bytes.Buffer
	err := rollcallTo(ctx, &out, args...)
	if err == nil {
		return result{out: out.String()}
	}
	return result{out.String(), cli.ExitCode(err), err}
}

func rollcallTo(ctx context.Context, out io.Writer, args ...string) error {
	root := newRoot()
	root.SetOut(out)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// must is rollcall for runs that have to end well.
func (r *rig) must(args ...string) string {
	r.Helper()
	got := rollcall(r.Context(), args...)
	if got.err != nil {
		r.Fatalf("rollcall %q: %v", args, got.err)
	}
	return got.out
}
