package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// patience is how long a test waits for what takes a few seconds at most when
// the machine is idle.
const patience = 40 * time.Second

// harness is a fleet whose failures fail its test, and which ends with it.
type harness struct {
	*stage.Fleet
	t *testing.T
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	addrs, err := stage.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	h := newHarnessAt(t, addrs)
	h.Pool = stage.OwnPool()
	return h
}

func newHarnessAt(t *testing.T, addrs stage.Addresses) *harness {
	t.Helper()
	h := &harness{t: t, Fleet: stage.NewFleet(stage.Options{
		Binary: binary, Envoy: envoyPath, Dir: t.TempDir(), Addresses: addrs,
	})}
	t.Cleanup(func() {
		h.Kill()
		for _, p := range h.Processes() {
			if t.Failed() {
				t.Logf("the last lines of %s:\n%s", p.Name, p.Tail(25))
			}
		}
	})
	return h
}

// within bounds what a test waits for.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test on an error and passes v on.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// logs waits until the process has logged what.
func logs(t *testing.T, p *stage.Process, what string) {
	t.Helper()
	err := p.Await(within(t, patience), func(context.Context) error {
		if !strings.Contains(p.Log(), what) {
			return fmt.Errorf("%s has not logged %q", p.Name, what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eds starts the EDS server and waits until it is ready.
func (h *harness) eds(args ...string) *stage.Process {
	h.t.Helper()
	p, err := h.EDS(within(h.t, patience), args...)
	return must(h.t, p, err)
}

// envoy starts Envoy over api and waits until it serves.
func (h *harness) envoy(api envoy.API, args ...string) *stage.Process {
	h.t.Helper()
	if api == envoy.REST {
		args = append(args, "--refresh-delay", "100ms")
	}
	p, err := h.Envoy(within(h.t, patience), string(api), args...)
	return must(h.t, p, err)
}

// ownEnvoy starts Envoy with a bootstrap file and waits until it serves.
func (h *harness) ownEnvoy(bootstrap string) {
	h.t.Helper()
	p, err := h.StartOwnEnvoy(bootstrap)
	must(h.t, p, err)
	if err := p.Await(within(h.t, patience), h.Admin.Ready); err != nil {
		h.t.Fatal(err)
	}
}

// upstream starts an upstream on a free port and waits until it answers.
func (h *harness) upstream(args ...string) *stage.Upstream {
	h.t.Helper()
	port := must2(stage.FreePort())(h.t)
	u, err := h.Upstream(within(h.t, patience), port, args...)
	return must(h.t, u, err)
}

// stranger starts an upstream of another service: it answers, but nobody routes to it
// until an operator says so.
func (h *harness) stranger() *stage.Upstream {
	h.t.Helper()
	return h.upstream("--service", "other")
}

// must2 is must for a call that cannot be spread over two arguments.
func must2[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		return must(t, v, err)
	}
}

// eventually fails the test unless check returns nil in time.
func (h *harness) eventually(what string, check func(context.Context) error) {
	h.t.Helper()
	if err := stage.Eventually(within(h.t, patience), check); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// serves waits until these upstreams, and no others, answer through Envoy.
func (h *harness) serves(us ...*stage.Upstream) {
	h.t.Helper()
	var ids []string
	for _, u := range us {
		ids = append(ids, u.ID)
	}
	h.eventually(fmt.Sprintf("%d upstreams through envoy", len(us)), func(ctx context.Context) error {
		return h.Client.ExpectIDs(ctx, ids...)
	})
}

// servesNobody waits until Envoy answers that it has no host.
func (h *harness) servesNobody() {
	h.t.Helper()
	h.eventually("nobody through envoy", func(ctx context.Context) error {
		a := h.Client.Get(ctx)
		if a.Status != http.StatusServiceUnavailable || a.Body != "no healthy upstream" {
			return fmt.Errorf("status %d, body %q, error %v", a.Status, a.Body, a.Err)
		}
		return nil
	})
}

// letsGoOf waits until Envoy has no host on u's port.
func (h *harness) letsGoOf(u *stage.Upstream) {
	h.t.Helper()
	h.eventually("envoy lets go of a host", func(ctx context.Context) error {
		ports, err := h.Admin.Hosts(ctx, stage.Backend)
		if err == nil && slices.Contains(ports, u.Port) {
			err = fmt.Errorf("envoy still has port %d", u.Port)
		}
		return err
	})
}

// request sends one request to the API and fails the test unless its status is want.
func (h *harness) request(want int, method, path, body string) string {
	h.t.Helper()
	got, err := h.API.Expect(within(h.t, patience), want, method, path, body)
	return must(h.t, got, err)
}

// operate decides on the fleet's service, as an operator does.
func (h *harness) operate(want int, method, body string) string {
	h.t.Helper()
	return h.request(want, method, "/edsservice/"+h.Service, body)
}

// load asks through Envoy until stopped by noneFailed.
func (h *harness) load() *stage.Load {
	h.t.Helper()
	client := stage.NewClient(h.Addresses.Listener, true)
	h.t.Cleanup(client.Close)
	return stage.StartLoad(within(h.t, 3*time.Minute), client, 200)
}

// noneFailed stops l and fails the test unless an upstream answered every request.
func (h *harness) noneFailed(l *stage.Load) stage.Answers {
	h.t.Helper()
	time.Sleep(300 * time.Millisecond) // a failure may come late, and a quick test makes few requests
	answers := l.Stop()
	if len(answers) < 50 {
		h.t.Errorf("only %d requests were made, too few to say anything", len(answers))
	}
	if failed := answers.Failed(); len(failed) > 0 {
		h.t.Errorf("%d of %d requests failed, the first after %s: %v", len(failed), len(answers),
			failed[0].Sent.Sub(answers[0].Sent), failed[0].Failure())
	}
	return answers
}

// logs waits until p has logged a line that holds each of the parts.
func (h *harness) logs(p *stage.Process, parts ...string) {
	h.t.Helper()
	h.eventually(p.Name+" logs", func(context.Context) error {
		for line := range strings.Lines(p.Log()) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return nil
			}
		}
		return fmt.Errorf("no line with all of %q", parts)
	})
}
