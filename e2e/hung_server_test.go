package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
)

// fedBy returns which of the two EDS servers the Envoy follows.
func (p *pair) fedBy() int {
	p.t.Helper()
	server := -1
	p.eventually("a server that Envoy follows", func(ctx context.Context) error {
		for i, api := range p.api {
			var clients struct{ Clients []struct{ Node string } }
			if err := api.Get(ctx, "/clients", &clients); err == nil && len(clients.Clients) > 0 {
				server = i
				return nil
			}
		}
		return fmt.Errorf("no server has a client")
	})
	return server
}

// The EDS server that an Envoy follows hangs. The Envoy's keepalive notices, and an upstream
// that is stopped meanwhile waits until the Envoy has found the other server.
func TestDrainWhileAnEDSServerHangsLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.args[0], p.args[1] = nil, nil
	seeds := []string{"--join", p.at[0].Gossip + "," + p.at[1].Gossip}
	first := p.upstream(append(seeds, "--drain-timeout", "30s")...) // a busy machine's gossip takes longer to notice
	second, third := p.upstream(seeds...), p.upstream(seeds...)
	p.envoyOfBoth(envoy.GRPC)
	p.hasHosts(first, second, third)
	logs(t, first.Process, `msg="endpoint in service" envoys=1`)
	load := p.load()
	hung := p.fedBy()
	must(t, 0, p.eds[hung].Signal(syscall.SIGSTOP))
	since := time.Now()
	must(t, 0, first.Stop(within(t, patience)))
	t.Logf("stopped %s after the server hung", time.Since(since))
	p.noneFailed(load)
	if log := first.Log(); !strings.Contains(log, "msg=drained") {
		t.Errorf("it has not drained:\n%s", log)
	}
	must(t, 0, p.eds[hung].Signal(syscall.SIGCONT))
	p.hasHosts(second, third)
}
