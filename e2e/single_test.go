package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/demo/stage"
)

// A program that serves one connection at a time, until its client closes it. It writes
// each request for its health page to the file checks, and answers it after the pause
// that its second argument says, in seconds.
const singleServer = `
import http.server, os, sys, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/health":
            with open("checks", "a") as f: f.write("%f\n" % time.time())
            time.sleep(float(sys.argv[2]))
        body = b"python"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
with open("pid", "w") as f: f.write(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
`

func (h *harness) singleApp() (dir, port string) {
	h.t.Helper()
	dir, port = h.t.TempDir(), strconv.Itoa(must2(stage.FreePort())(h.t))
	must(h.t, 0, os.WriteFile(filepath.Join(dir, "app.py"), []byte(singleServer), 0o600))
	return dir, port
}

// secondEDS starts another EDS server in the pool, and waits until it serves the service
// from one endpoint.
func (h *harness) secondEDS() {
	h.t.Helper()
	at := must2(stage.Fresh())(h.t)
	must2(h.StartEDSAt(at, "--join", h.Addresses.Gossip))(h.t)
	api := stage.NewAPI(at.HTTP)
	h.eventually("the second EDS server serves the program", func(ctx context.Context) error {
		return servesOne(ctx, api)
	})
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
func latency(t *testing.T, port string, n int) time.Duration {
	t.Helper()
	c := stage.NewClient("127.0.0.1:"+port, false)
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

func pidIn(t *testing.T, dir string) int {
	t.Helper()
	b := must2(os.ReadFile(filepath.Join(dir, "pid")))(t)
	return must2(strconv.Atoi(strings.TrimSpace(string(b))))(t)
}

func TestAProgramThatServesOneConnectionAtATimeKeepsItsLatency(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	dir, port := h.singleApp()
	h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "/health",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", port, "0")
	h.answers(200, "python")
	h.secondEDS()
	if took := latency(t, port, 200); took > 50*time.Millisecond {
		t.Errorf("a request takes %v (median) with two EDS servers", took)
	}
	h.answers(200, "python")
	// The wrapper's checks are the only ones: each second one.
	const watched = 5 * time.Second
	before := checksIn(t, dir)
	time.Sleep(watched)
	if n := checksIn(t, dir) - before; n < 3 || n > 7 {
		t.Errorf("%d checks in %v with an interval of 1 s", n, watched)
	}
}

func checksIn(t *testing.T, dir string) int {
	t.Helper()
	b := must2(os.ReadFile(filepath.Join(dir, "checks")))(t)
	return strings.Count(string(b), "\n")
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
			dir, port := h.singleApp()
			p := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "/health",
				"--restart", "on-failure", "--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", port, "0")
			h.answers(200, "python")
			killed := time.Now()
			must(t, 0, kill(p, pidIn(t, dir)))
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

// Its operator knows that the health page takes two seconds.
func TestARegisteredProgramIsCheckedAsItsOperatorSays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	dir, port := h.singleApp()
	must(t, 0, os.WriteFile(filepath.Join(dir, "checks"), nil, 0o600))
	app := must2(stage.Start(stage.Command{Name: "app", Path: "python3", Dir: dir, Args: []string{"app.py", port, "2"}, LogFile: filepath.Join(dir, "app.log")}))(t)
	t.Cleanup(app.Kill)
	h.verb(dir, "register", "--service", "myservice", "--address", "127.0.0.1:"+port, "--health", "/health",
		"--health-interval", "4s", "--health-timeout", "10s", "--join", h.Addresses.Gossip, "--fleet", h.Pool)
	api := stage.NewAPI(h.Addresses.HTTP)
	served := func(ctx context.Context) error { return servesOne(ctx, api) }
	h.eventually("the program is served", served)
	h.secondEDS()
	before, watched := checksIn(t, dir), 12*time.Second
	for end := time.Now().Add(watched); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := served(t.Context()); err != nil {
			t.Fatalf("out of service: %v", err)
		}
	}
	// The registrar's checks and those of both EDS servers together.
	if n := checksIn(t, dir) - before; n > 8 {
		t.Errorf("%d checks in %v with an interval of 4 s", n, watched)
	}
}
