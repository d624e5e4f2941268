package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// TestReadmePrograms runs README.md's server in Go and its program in Python as it
// says, beside an EDS server and an Envoy: both answer through Envoy, and are gone
// when they are told to stop.
func TestReadmePrograms(t *testing.T) {
	wellKnown(t)
	home := t.TempDir()
	folder := filepath.Join(home, "hello")
	must(t, 0, os.Mkdir(folder, 0o700))
	must(t, 0, os.Symlink(must2(filepath.Abs(".."))(t), filepath.Join(home, "rollcall")))
	for language, file := range map[string]string{"go": filepath.Join(folder, "main.go"), "python": filepath.Join(home, "app.py")} {
		blocks := fenced(t, "README.md", language)
		if len(blocks) != 1 {
			t.Fatalf("README.md has %d programs in %s, want 1", len(blocks), language)
		}
		must(t, 0, os.WriteFile(file, []byte(blocks[0]), 0o600))
	}
	for _, line := range readmeStarting(t, "go mod") {
		if err := goTerminal(t, folder, line).Wait(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	terminal(t, home, "rollcall eds")
	proxy := terminal(t, home, "rollcall envoy run")
	app := terminal(t, home, readmeStarting(t, "rollcall run")[0])
	own := goTerminal(t, folder, readmeStarting(t, "go run")[0])
	for _, want := range []string{"hello from python\n", "hello\n"} {
		if err := proxy.Await(within(t, 3*patience), throughEnvoy(http.StatusOK, want)); err != nil { // it is compiled first
			t.Fatal(err)
		}
	}
	logs(t, own, "endpoint in service envoys=1 ")
	must(t, 0, syscall.Kill(-own.PID(), syscall.SIGINT)) // Ctrl-C
	_ = own.Wait(within(t, patience))                    // go run calls it a failure to be interrupted
	if log := own.Log(); !strings.Contains(log, "drained") || strings.Contains(log, "ERROR") {
		t.Errorf("it has not stopped as it should:\n%s", log)
	}
	_ = app.Stop(within(t, patience)) // its exit code is the program's
	if err := proxy.Await(within(t, patience), throughEnvoy(http.StatusServiceUnavailable, "no healthy upstream")); err != nil {
		t.Error(err)
	}
}

// goTerminal is a terminal with the compiler's caches of whoever runs the tests.
func goTerminal(t *testing.T, dir, line string) *stage.Process {
	t.Helper()
	caches := strings.Fields(string(must2(exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output())(t)))
	// Go reads no go.mod in the folder for temporary files.
	return terminal(t, dir, fmt.Sprintf("env TMPDIR=%s GOCACHE=%s GOMODCACHE=%s %s", os.TempDir(), caches[0], caches[1], line))
}

// throughEnvoy asks Envoy at its default port until it answers so.
func throughEnvoy(status int, body string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:10000/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != status || !strings.Contains(string(got), body) || status == http.StatusOK && string(got) != body) {
			err = fmt.Errorf("envoy answers %d %q, want %d %q", resp.StatusCode, got, status, body)
		}
		return err
	}
}
