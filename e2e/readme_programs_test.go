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
	"testing"
)

// TestReadmePrograms runs README.md's server in Go and its program in Python as it
// says, beside an EDS server and an Envoy: both answer through Envoy, and are gone
// when they are told to stop.
func TestReadmePrograms(t *testing.T) {
	wellKnown(t)
	home := t.TempDir()
	source := filepath.Join(home, "main.go")
	for language, file := range map[string]string{"go": source, "python": filepath.Join(home, "app.py")} {
		blocks := fenced(t, "README.md", language)
		if len(blocks) != 1 {
			t.Fatalf("README.md has %d programs in %s, want 1", len(blocks), language)
		}
		must(t, 0, os.WriteFile(file, []byte(blocks[0]), 0o600))
	}
	server := filepath.Join(home, "server")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", server, source).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	terminal(t, home, "rollcall eds")
	proxy := terminal(t, home, "rollcall envoy run")
	app := terminal(t, home, readmeStarting(t, "rollcall run")[0])
	own := terminal(t, home, server)
	for _, want := range []string{"hello from python\n", "hello\n"} {
		if err := proxy.Await(within(t, patience), throughEnvoy(http.StatusOK, want)); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.Stop(within(t, patience)); err != nil {
		t.Error(err)
	}
	_ = app.Stop(within(t, patience)) // its exit code is the program's
	if err := proxy.Await(within(t, patience), throughEnvoy(http.StatusServiceUnavailable, "no healthy upstream")); err != nil {
		t.Error(err)
	}
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
