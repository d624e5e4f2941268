package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

func (h *harness) singleApp(pause float64) faults.Single {
	h.t.Helper()
	return must2(faults.NewSingle(h.t.TempDir(), "python", pause))(h.t)
}

// under runs it as `rollcall run` does.
func (h *harness) under(s faults.Single, flags ...string) *stage.Process {
	h.t.Helper()
	p := must2(s.Run(h.Fleet, flags...))(h.t)
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			h.t.Log(p.Log())
		}
	})
	return p
}

// secondEDS starts another EDS server in the pool, and waits until it serves the service
// from one endpoint.
func (h *harness) secondEDS() *stage.API {
	h.t.Helper()
	at := must2(stage.Fresh())(h.t)
	must2(h.StartEDSAt(at, "--join", h.Addresses.Gossip))(h.t)
	api := stage.NewAPI(at.HTTP)
	h.eventually("the second EDS server serves the program", func(ctx context.Context) error {
		return servesOne(ctx, api)
	})
	return api
}

// servesOne returns nil when the EDS server serves the service from one endpoint.
func servesOne(ctx context.Context, api *stage.API) error {
	s, err := api.Service(ctx, "myservice")
	if err == nil && (len(s.Hosts) != 1 || !s.Hosts[0].Served) {
		err = fmt.Errorf("its hosts are %+v", s.Hosts)
	}
	return err
}

// latency is the median of n requests, each on a connection of its own.
func latency(t *testing.T, port, n int) time.Duration {
	t.Helper()
	c := stage.NewClient(stage.Local(port), false)
	var took []time.Duration
	for range n {
		a := c.Get(t.Context())
		if a.Err != nil || a.Status != 200 {
			t.Fatalf("status %d: %v", a.Status, a.Err)
		}
		took = append(took, a.Got.Sub(a.Sent))
	}
	slices.Sort(took)
	return took[n/2]
}

func TestAProgramThatServesOneConnectionAtATimeKeepsItsLatency(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	app := h.singleApp(0)
	h.under(app)
	h.answers(200, "python")
	h.secondEDS()
	if took := latency(t, app.Port, 200); took > 50*time.Millisecond {
		t.Errorf("a request takes %v (median) with two EDS servers", took)
	}
	h.answers(200, "python")
	// The wrapper's checks, one a second, are the only ones.
	const watched = 5 * time.Second
	before := must2(app.Checks())(t)
	time.Sleep(watched)
	if n := must2(app.Checks())(t) - before; n < 3 || n > 7 {
		t.Errorf("%d checks in %v with an interval of 1 s", n, watched)
	}
}

// The wrapper alone, the program alone, or both are killed: the program is out of service
// once it is dead, as the wrapper says or the wrapper's own end shows.
func TestAProgramOrItsWrapperThatIsKilledIsOutAtOnce(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(wrapper *stage.Process, program int) error{
		"program": func(_ *stage.Process, program int) error { return syscall.Kill(program, syscall.SIGKILL) },
		"wrapper": func(wrapper *stage.Process, _ int) error { wrapper.Kill(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.eds()
			h.envoy("grpc")
			app := h.singleApp(0)
			p := h.under(app, "--restart", "on-failure")
			h.answers(200, "python")
			killed := time.Now()
			must(t, 0, kill(p, must2(app.PID())(t)))
			err := stage.Eventually(within(t, time.Second), func(ctx context.Context) error {
				if n, err := h.Admin.Usable(ctx, "service_backend"); err != nil || n != 0 {
					return fmt.Errorf("Envoy has %d endpoints: %v", n, err)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("a second after the kill: %v", err)
			}
			t.Logf("out after %v", time.Since(killed).Round(time.Millisecond))
		})
	}
}

// Its operator knows that the health page takes two seconds. All that ask for it together,
// the registrar and both EDS servers, leave the program time for its requests.
func TestARegisteredProgramIsCheckedAsItsOperatorSays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	app := h.singleApp(2)
	t.Cleanup(must2(app.Start())(t).Kill)
	h.verb(app.Dir, "register", "--service", "myservice", "--address", stage.Local(app.Port), "--health", "/health",
		"--health-interval", "1s", "--health-timeout", "5s", "--join", h.Addresses.Gossip, "--fleet", h.Pool)
	first := stage.NewAPI(h.Addresses.HTTP)
	h.eventually("the program is served", func(ctx context.Context) error { return servesOne(ctx, first) })
	second := h.secondEDS()
	before, watched, unused := must2(app.Checks())(t), 20*time.Second, 0
	for end := time.Now().Add(watched); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if must2(connectionsTo(app.Port))(t) == 0 {
			unused++
		}
		for name, api := range map[string]*stage.API{"first": first, "second": second} {
			if err := servesOne(t.Context(), api); err != nil {
				t.Fatalf("out of service at the %s EDS server: %v", name, err)
			}
		}
	}
	if n := must2(app.Checks())(t) - before; n < 3 || n > 7 {
		t.Errorf("%d checks of two seconds each in %v", n, watched)
	}
	if unused == 0 {
		t.Error("there was a connection to the program all the time")
	}
}

// connectionsTo counts the connections to a port of this machine that stand.
func connectionsTo(port int) (n int, err error) {
	b, err := os.ReadFile("/proc/net/tcp")
	const established = "01"
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) && f[3] == established {
			n++
		}
	}
	return n, err
}
