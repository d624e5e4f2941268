package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// writesTo makes the fleet's processes write where a shell's redirection says.
func (h *harness) writesTo(redirection string) {
	h.t.Helper()
	script := filepath.Join(h.t.TempDir(), "rollcall")
	must(h.t, 0, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/bash\nexec %s \"$@\" %s\n", h.Binary, redirection), 0o700))
	h.Binary = script
}

// has waits until Envoy has n endpoints.
func (h *harness) has(n int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("envoy has %d hosts", n), func(ctx context.Context) error {
		ports, err := h.Admin.Hosts(ctx, stage.Backend)
		if err == nil && len(ports) != n {
			err = fmt.Errorf("it has %v", ports)
		}
		return err
	})
}

// allAnswered is noneFailed where some answers are a program's, without a uuid.
func (h *harness) allAnswered(l *stage.Load) {
	h.t.Helper()
	answers := l.Stop()
	for _, a := range answers {
		if a.Err != nil || a.Status != http.StatusOK {
			h.t.Errorf("of %d requests one failed after %s: %v", len(answers), a.Sent.Sub(answers[0].Sent), a.Failure())
		}
	}
}

// fullPipe is a pipe that is full and that nobody reads.
func fullPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, 0, syscall.Mkfifo(path, 0o600))
	fd := must2(syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK, 0))(t)
	t.Cleanup(func() { syscall.Close(fd) })
	for size := 4096; size > 0; {
		if _, err := syscall.Write(fd, make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return path
}

// A log that nobody can read any more stops no process, neither at its start nor when it
// stops.
func TestALogWithoutAReaderStopsNoProcess(t *testing.T) {
	t.Parallel()
	for name, redirection := range map[string]string{
		"the reader of the pipe has exited": `> >(:) 2>&1`,
		"the disk is full":                  `> /dev/full 2>&1`,
		"both are closed":                   `>&- 2>&-`,
		"the reader of the pipe hangs":      `2> ` + fullPipe(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.writesTo(redirection)
			eds := h.eds()
			envoy := h.envoy("grpc")
			dir, port := h.pythonApp()
			run := h.verb(dir, "run", "--service", "myservice", "--port", port, "--health", "/health",
				"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", port)
			h.answers(200, "python")
			registered := h.verb(t.TempDir(), "register", "--service", "other", "--address", "127.0.0.1:"+port,
				"--join", h.Addresses.Gossip, "--fleet", h.Pool)
			one := h.upstream()
			h.has(2)
			load := h.load()
			must(t, 0, run.Signal(syscall.SIGTERM))
			_ = run.Wait(within(t, patience)) // its code is the program's
			if code := run.ExitCode(); code != 128+int(syscall.SIGTERM) {
				t.Errorf("run ended with %d, want the program's code", code)
			}
			h.allAnswered(load)
			must(t, 0, registered.Stop(within(t, patience)))
			must(t, 0, one.Stop(within(t, patience)))
			must(t, 0, envoy.Stop(within(t, patience)))
			must(t, 0, eds.Stop(within(t, patience)))
		})
	}
}
