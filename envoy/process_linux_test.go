package envoy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestEnvoyEndsWithTheProcessThatRunsIt(t *testing.T) {
	boot, err := Bootstrap(Options{API: GRPC, EDS: noServer, Listener: anyPort, Admin: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runner := exec.CommandContext(t.Context(), self, realEnvoy(t), file)
	runner.Env = append(os.Environ(), asProgram+"=runner", "TMPDIR="+t.TempDir()) // it is killed, and leaves its folder
	log, err := runner.StderrPipe()                                               // Envoy writes to it too: it ends when both have
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	up, gone := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(gone)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if adminLine.MatchString(lines.Text()) {
				up <- struct{}{}
			}
		}
	}()
	await(t, up, "envoy did not start")
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, gone, "envoy outlived the process that ran it")
	if err := runner.Wait(); err == nil {
		t.Error("the runner was not killed")
	}
}

func await(t *testing.T, c <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal(otherwise)
	}
}
