package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// A server that knows nothing of rollcall: it answers every path, and 500 at
// /health while the file sick is there.
const pythonServer = `
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        sick = self.path == "/health" and os.path.exists("sick")
        body = b"python"
        self.send_response(500 if sick else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
`

// answers waits until Envoy answers with this status and body.
func (h *harness) answers(status int, body string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%d %q through envoy", status, body), func(ctx context.Context) error {
		a := h.Client.Get(ctx)
		if a.Status != status || a.Body != body {
			return fmt.Errorf("status %d, body %q, error %v", a.Status, a.Body, a.Err)
		}
		return nil
	})
}

// verb starts rollcall in a folder.
func (h *harness) verb(dir string, args ...string) *stage.Process {
	h.t.Helper()
	p, err := stage.Start(stage.Command{
		Name: args[0], Path: h.Binary, Dir: dir, Args: args, LogFile: filepath.Join(dir, args[0]+".log"),
	})
	must(h.t, p, err)
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			h.t.Log(p.Log())
		}
	})
	return p
}

func (h *harness) pythonApp() (dir, port string) {
	h.t.Helper()
	dir, port = h.t.TempDir(), strconv.Itoa(must2(stage.FreePort())(h.t))
	must(h.t, 0, os.WriteFile(filepath.Join(dir, "app.py"), []byte(pythonServer), 0o600))
	return dir, port
}

func TestAnyProgramIsRunAsAnUpstream(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	dir, port := h.pythonApp()
	p := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "/health",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", port)
	h.answers(200, "python")
	must(t, 0, os.WriteFile(filepath.Join(dir, "sick"), nil, 0o600))
	h.answers(503, "no healthy upstream")
	must(t, 0, os.Remove(filepath.Join(dir, "sick")))
	h.answers(200, "python")
	must(t, 0, p.Signal(syscall.SIGTERM))
	h.answers(503, "no healthy upstream")
	_ = p.Wait(within(t, patience)) // its code is the program's
	if n := p.ExitCode(); n != 128+int(syscall.SIGTERM) && n != 0 {
		t.Errorf("exit code %d, want the program's", n)
	}
}

// What does not stop a program is for the program: to read its files again, say.
func TestSignalsAreForTheProgram(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	dir, port := h.pythonApp()
	app := `
import signal, sys
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), lambda n, frame: print(signal.Signals(n).name, flush=True))
` + pythonServer
	must(t, 0, os.WriteFile(filepath.Join(dir, "app.py"), []byte(app), 0o600))
	signals := map[string]syscall.Signal{"SIGHUP": syscall.SIGHUP, "SIGQUIT": syscall.SIGQUIT, "SIGUSR1": syscall.SIGUSR1,
		"SIGUSR2": syscall.SIGUSR2, "SIGALRM": syscall.SIGALRM, "SIGCONT": syscall.SIGCONT, "SIGWINCH": syscall.SIGWINCH}
	names := slices.Collect(maps.Keys(signals))
	p := h.verb(dir, append([]string{"run", "--service", "myservice", "--port", port, "--join", h.Addresses.Gossip, "--fleet", h.Pool,
		"--", "python3", "app.py", port}, names...)...)
	logs(t, p, "msg=healthy")
	for _, name := range names {
		must(t, 0, p.Signal(signals[name]))
		logs(t, p, "\n"+name+"\n")
	}
}

// What the check starts in the background has its output, which keeps the pipe open.
func TestAHealthCheckThatLeavesAChildBehindPassesAndNoneIsLeft(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	dir, port := h.pythonApp()
	p := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "exec:echo $$ >> checks; sleep 1000 & test ! -e sick", "--health-interval", "100ms",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", port)
	h.answers(200, "python")
	must(t, 0, os.WriteFile(filepath.Join(dir, "sick"), nil, 0o600))
	h.answers(503, "no healthy upstream")
	must(t, 0, os.Remove(filepath.Join(dir, "sick")))
	h.answers(200, "python")
	must(t, 0, p.Signal(syscall.SIGTERM))
	_ = p.Wait(within(t, patience)) // its code is the program's
	checks := strings.Fields(string(must2(os.ReadFile(filepath.Join(dir, "checks")))(t)))
	left, _ := exec.CommandContext(within(t, patience), "pgrep", "--runstates", "RSD", "--pgroup", strings.Join(checks, ",")).Output()
	if n := strings.Count(string(left), "\n"); n > 0 || len(checks) < 4 { // one healthy, two sick, one healthy
		t.Errorf("%d children of %d checks are left", n, len(checks))
	}
}

// The program's server has left its process group, and outlives it.
func TestAnOrphanThatHasThePortIsNotTakenForTheProgramStartedAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	dir, port := h.pythonApp()
	p := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "/health", "--restart", "on-failure", "--join", h.Addresses.Gossip, "--fleet", h.Pool,
		"--", "sh", "-c", "setsid python3 app.py "+port+" & echo $! > server; echo $$ > program; exec sleep 1000")
	pid := func(of string) int {
		return must2(strconv.Atoi(strings.TrimSpace(string(must2(os.ReadFile(filepath.Join(dir, of)))(t)))))(t)
	}
	h.answers(200, "python")
	orphan := pid("server")
	t.Cleanup(func() {
		_ = syscall.Kill(orphan, syscall.SIGKILL)
		_ = syscall.Kill(pid("server"), syscall.SIGKILL)
	})
	must(t, 0, syscall.Kill(pid("program"), syscall.SIGKILL))
	h.logs(p, "level=WARN", "address is still in use: waiting to restart the program", "another process answers at 127.0.0.1:"+port)
	load := h.load()
	time.Sleep(3 * time.Second)
	for _, a := range load.Stop() {
		if a.Status != http.StatusServiceUnavailable {
			t.Fatalf("the orphan is served: status %d, body %q, error %v", a.Status, a.Body, a.Err)
		}
	}
	must(t, 0, syscall.Kill(orphan, syscall.SIGKILL))
	h.answers(200, "python")
	must(t, 0, p.Signal(syscall.SIGTERM))
	_ = p.Wait(within(t, patience)) // its code is the program's
}

func TestARunningProgramIsRegistered(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy("grpc")
	dir, port := h.pythonApp()
	python := must2(exec.LookPath("python3"))(t)
	app, err := stage.Start(stage.Command{Name: "app", Path: python, Dir: dir, Args: []string{"app.py", port}, LogFile: filepath.Join(dir, "app.log")})
	must(t, app, err)
	t.Cleanup(app.Kill)
	p := h.verb(dir, "register", "--service", "myservice", "--address", "127.0.0.1:"+port, "--health", "tcp",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool)
	h.answers(200, "python")
	app.Kill() // nobody else speaks for it, so its refused port is proof enough
	h.answers(503, "no healthy upstream")
	must(t, 0, p.Stop(within(t, patience)))
}
