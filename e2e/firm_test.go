package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// A removed host that answers its health checks may get requests for so long.
const (
	firmWithin     = time.Second
	firmWithinPoll = 4 * time.Second // polling at the default delay, which is up to twice a second
)

// checking writes a bootstrap whose cluster checks the health of its endpoints, so
// that it goes on using one that is absent for as long as the checks succeed.
// Panic threshold and merge window are Envoy's own.
func (h *harness) checking(api envoy.API, args ...string) string {
	h.t.Helper()
	boot := h.bootstrap(api, append(args, "--no-retries")...)
	cluster := boot.cluster(stage.Backend)
	delete(cluster, "ignore_health_on_host_removal")
	delete(cluster, "common_lb_config")
	cluster["health_checks"] = []any{map[string]any{
		"interval": "1s", "timeout": "1s", "no_traffic_interval": "1s",
		"healthy_threshold": 1, "unhealthy_threshold": 1000,
		"http_health_check": map[string]any{"path": "/healthz"},
	}}
	return h.write("checking.yaml", boot)
}

// An Envoy that checks health on its own keeps a host that EDS has removed until a
// check fails, which may be never. A removal is firm all the same.
func TestARemovalIsFirmThoughEnvoyChecksHealth(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.ownEnvoy(h.checking(api, "--refresh-delay", "100ms"))
		a, b, c, d := h.upstream(), h.upstream(), h.stranger(), h.upstream()
		h.operate(http.StatusOK, http.MethodPut, stage.HostList(a.Port, b.Port, c.Port, d.Port))
		h.serves(a, b, c, d)

		load := h.load()
		h.remains(load, firmWithin, []*stage.Upstream{a, b, c}, d)
		h.remains(load, firmWithin, []*stage.Upstream{a}, b, c) // for a moment more than half are unhealthy
		h.noneFailed(load)
	})
}

// An Envoy that polls seldom may not see a host unhealthy before it is gone from
// what the others are told.
func TestARemovalIsFirmForAnEnvoyThatPollsSeldom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.ownEnvoy(h.checking(envoy.REST))
	a, b, c := h.upstream(), h.upstream(), h.upstream()
	h.operate(http.StatusOK, http.MethodPut, stage.HostList(a.Port, b.Port, c.Port))
	h.serves(a, b, c)

	load := h.load()
	h.remains(load, firmWithinPoll, []*stage.Upstream{a, b}, c)
	h.noneFailed(load)
}

// Where fewer than half of its hosts are healthy Envoy ignores health, unless the cluster
// says otherwise. Most of a service that dies gets no request all the same once Envoy has
// been told, whatever another Envoy acknowledges and however seldom this one polls.
func TestMostOfAServiceThatDiesGetsNoRequests(t *testing.T) {
	for _, api := range []envoy.API{envoy.GRPC, envoy.DeltaADS, envoy.REST} {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.eds()
			boot := h.bootstrap(api, "--no-retries", "--refresh-delay", "3s")
			delete(boot.cluster(stage.Backend), "common_lb_config")
			h.ownEnvoy(h.write("panic.yaml", boot))
			stopped := h.beside(envoy.GRPC)
			us := []*stage.Upstream{h.upstream(), h.upstream(), h.upstream(), h.upstream(), h.upstream()}
			h.serves(us...)

			must(t, 0, syscall.Kill(stopped, syscall.SIGSTOP))
			t.Cleanup(func() { _ = syscall.Kill(stopped, syscall.SIGCONT) })
			load := h.load()
			for _, u := range us[:3] {
				must(t, 0, u.Signal(syscall.SIGKILL))
			}
			want := []string{stage.Local(us[3].Port), stage.Local(us[4].Port)}
			slices.Sort(want)
			h.eventually("envoy has been told of the deaths", func(ctx context.Context) error {
				healthy, err := h.Admin.Healthy(ctx, stage.Backend)
				if err == nil && !slices.Equal(healthy, want) {
					err = fmt.Errorf("healthy are %v, want %v", healthy, want)
				}
				return err
			})
			told := time.Now().Add(100 * time.Millisecond) // until every worker thread of Envoy has it
			time.Sleep(2 * time.Second)
			failed := 0
			for _, a := range load.Stop() {
				if a.Sent.After(told) && a.Failure() != nil {
					failed++
				}
			}
			if failed > 0 {
				t.Errorf("%d requests went to the dead after Envoy had been told of them", failed)
			}
		})
	}
}

// beside starts a second Envoy and returns its process id.
func (h *harness) beside(api envoy.API) int {
	h.t.Helper()
	at := must2(stage.Fresh())(h.t)
	at.HTTP, at.XDS, at.Gossip = h.Addresses.HTTP, h.Addresses.XDS, h.Addresses.Gossip
	return childOf(h.t, newHarnessAt(h.t, at).envoy(api).PID())
}

// remains makes us the hosts of the service, and fails the test if a gone one gets
// requests for longer than most after the answer.
func (h *harness) remains(load *stage.Load, most time.Duration, us []*stage.Upstream, gone ...*stage.Upstream) {
	h.t.Helper()
	ports := portsOf(us)
	for _, u := range gone {
		if _, err := load.First(within(h.t, patience), func(a stage.Answer) bool { return a.ID() == u.ID }); err != nil {
			h.t.Fatalf("no request to a host that is about to be removed: %v", err)
		}
	}
	h.operate(http.StatusOK, http.MethodPut, stage.HostList(ports...))
	answered := time.Now()
	time.Sleep(most + 2*time.Second) // while requests go on
	for _, u := range gone {
		var last time.Duration
		for _, a := range load.Answers() {
			if a.ID() == u.ID {
				last = a.Sent.Sub(answered)
			}
		}
		h.t.Logf("the last request to a removed host was sent %s after the answer", last)
		if last > most {
			h.t.Errorf("a removed host got requests for %s, want at most %s", last, most)
		}
	}
}
