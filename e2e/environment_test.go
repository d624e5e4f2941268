package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// In a pod of a namespace with a Service that is called rollcall, and with variables
// that a chart left empty.
func TestVariablesOfAPodStopNoProcess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "upstream", "--address", "127.0.0.9", "--insecure")
	cmd.Env = append(os.Environ(), "ROLLCALL_PORT=tcp://10.96.0.7:8080", "ROLLCALL_SERVICE_HOST=10.96.0.7", "ROLLCALL_SERVICE_PORT=8080",
		"ROLLCALL_SERVICE_PORT_HTTP=8080", "ROLLCALL_PORT_8080_TCP=tcp://10.96.0.7:8080", "ROLLCALL_PORT_8080_TCP_PORT=8080",
		"ROLLCALL_WEIGHT=", "ROLLCALL_GOSSIP=", "ROLLCALL_CANARY=", "ROLLCALL_LOG_LEVEL=", "ROLLCALL_JOIN=", "ROLLCALL_FLEET="+stage.OwnPool())
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, 0, cmd.Start())
	direct := stage.NewClient("127.0.0.9:8081", false) // the default port, not that of the variable
	defer direct.Close()
	err := stage.Eventually(ctx, func(ctx context.Context) error { return direct.Get(ctx).Failure() })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if ended := cmd.Wait(); err != nil || ended != nil {
		t.Fatalf("it answers with %v and ends with %v:\n%s", err, ended, log.String())
	}
	if n := strings.Count(log.String(), "level=WARN msg=\"variable ignored"); n != 1 || !strings.Contains(log.String(), "variable=ROLLCALL_PORT") {
		t.Errorf("%d warnings of variables, want one of ROLLCALL_PORT:\n%s", n, log.String())
	}
}

func TestAProgramThatCannotStartHasTheExitCodeOfAShell(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, 0, os.WriteFile(plain, []byte("no program\n"), 0o600))
	for program, want := range map[string]int{"no-such-program": 127, plain + "-missing": 127, plain: 126} {
		code, out := rollcall(t, "run", "--service", "s", "--port", "1", "--join", stage.Local(1), "--", program)
		if code != want || !strings.Contains(out, program) {
			t.Errorf("run -- %s ends with %d, want %d:\n%s", program, code, want, out)
		}
	}
}
