package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// inner is the process 1 of the namespace that p, which is unshare, has made.
func inner(t *testing.T, p *stage.Process) int {
	t.Helper()
	b := must2(os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID())))(t)
	return must2(strconv.Atoi(strings.TrimSpace(string(b))))(t)
}

// leavesNoZombie makes orphans in the namespace of a process 1, as kubectl exec does,
// and waits until it has no zombie among its children.
func (h *harness) leavesNoZombie(name string, pid int) {
	h.t.Helper()
	orphans := exec.CommandContext(within(h.t, patience), "nsenter", "--target", strconv.Itoa(pid), "--pid", "--mount", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 9' &); (sleep 0.1 &); done")
	if out, err := orphans.CombinedOutput(); err != nil {
		h.t.Fatalf("make orphans: %v: %s", err, out)
	}
	seen := 0
	h.eventually("no zombies under "+name, func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "ps", "--no-headers", "--ppid", strconv.Itoa(pid), "-o", "stat=,comm=").Output()
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Z") || strings.Contains(line, "sleep") {
				seen = 0
				return fmt.Errorf("it has %s", out)
			}
		}
		if seen++; seen < 3 {
			return fmt.Errorf("looking again (%v)", err) // ps fails without children
		}
		return nil
	})
}

// In a container rollcall is process 1: all orphans become its children, and signals
// without a handler do nothing.
func TestProcess1OfAContainer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	script := filepath.Join(t.TempDir(), "rollcall")
	must(t, 0, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nexec unshare --pid --fork --mount-proc --kill-child %s \"$@\"\n", binary), 0o700))
	h.Binary = script
	eds, envoy, one := h.eds(), h.envoy("grpc"), h.upstream()
	h.serves(one)
	dir, port := h.pythonApp()
	run := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "exec:sh -c 'exit 9' & true",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--",
		"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sleep 0.3 &); done; exec python3 app.py "+port)
	h.has(2)
	for _, p := range []*stage.Process{run, one.Process, envoy, eds} {
		h.leavesNoZombie(p.Name, inner(t, p))
	}
	load := h.load()
	h.isUnderWay(load)
	for _, p := range []*stage.Process{run, one.Process, envoy, eds} {
		if p == one.Process {
			h.allAnswered(load)
		}
		must(t, 0, syscall.Kill(inner(t, p), syscall.SIGTERM))
		_ = p.Wait(within(t, patience))
		want := 0
		if p == run { // the program's code
			want = 128 + int(syscall.SIGTERM)
		}
		if code := p.ExitCode(); code != want {
			t.Errorf("%s ends with %d, want %d", p.Name, code, want)
		}
	}
}
