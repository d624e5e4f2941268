package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// The tests in this file use the ports that rollcall has by default, so they run
// one after the other and before those that run side by side.

// wellKnown fails the test when a default port is taken.
func wellKnown(t *testing.T) stage.Addresses {
	t.Helper()
	a := stage.WellKnown()
	if err := a.CheckFree(); err != nil {
		t.Fatalf("this test needs rollcall's default ports: %v", err)
	}
	return a
}

// terminal starts a command line as one would type it, in a home of its own that
// is also the working directory, with rollcall on the PATH.
func terminal(t *testing.T, home, line string) *stage.Process {
	t.Helper()
	p := must2(stage.Start(stage.Command{
		Name: line, Path: "/bin/sh", Args: []string{"-c", "exec " + line}, Dir: home,
		Env: []string{
			"HOME=" + home, "TMPDIR=" + home, "XDG_STATE_HOME=", "ENVOY=" + envoyPath,
			"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"),
		},
		LogFile: must2(logFile())(t),
	}))(t)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the last lines of %s:\n%s", line, p.Tail(25))
		}
		os.Remove(p.LogFile)
	})
	return p
}

// logFile makes an empty file for one process.
func logFile() (string, error) {
	f, err := os.CreateTemp(filepath.Dir(binary), "terminal-*.log")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func TestFourTerminals(t *testing.T) {
	a, home := wellKnown(t), t.TempDir()
	eds := terminal(t, home, "rollcall eds")
	first := terminal(t, home, "rollcall upstream -p 8081")
	proxy := terminal(t, home, "rollcall envoy run")
	client := stage.NewClient("localhost:10000", false)
	ids := make(map[string]bool)
	collect := func(want int) func(context.Context) error {
		return func(ctx context.Context) error {
			answer := client.Get(ctx)
			if err := answer.Failure(); err != nil {
				return err
			}
			if answer.Header.Get("Server") != "envoy" {
				t.Errorf("header server is %q", answer.Header.Get("Server"))
			}
			ids[answer.ID()] = true
			if len(ids) < want {
				return context.DeadlineExceeded
			}
			return nil
		}
	}
	if err := proxy.Await(within(t, patience), collect(1)); err != nil {
		t.Fatal(err)
	}
	second := terminal(t, home, "rollcall upstream -p 8082")
	third := terminal(t, home, "rollcall upstream -p 8083")
	if err := proxy.Await(within(t, patience), collect(3)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*stage.Process{proxy, third, second, first, eds} {
		if err := p.Stop(within(t, patience)); err != nil {
			t.Error(err)
		}
	}
	if err := a.CheckFree(); err != nil {
		t.Errorf("after everything has stopped: %v", err)
	}
}

func TestDemoPlaysTheWholeStory(t *testing.T) {
	a := wellKnown(t)
	demo := terminal(t, t.TempDir(), "rollcall demo --once")
	if err := demo.Wait(within(t, 3*patience)); err != nil {
		t.Fatalf("%v\n%s", err, demo.Log())
	}
	for _, part := range []string{"503 no healthy upstream", "three uuids", "kill -9", "PUT", "DELETE", "SIGTERM", "0 failed"} {
		if !strings.Contains(demo.Log(), part) {
			t.Errorf("%q is not in the story:\n%s", part, demo.Log())
		}
	}
	if err := a.CheckFree(); err != nil {
		t.Errorf("after the demo: %v", err)
	}
}

func TestDemoStaysUpUntilInterrupted(t *testing.T) {
	a := wellKnown(t)
	demo := terminal(t, t.TempDir(), "rollcall demo")
	h := &harness{t: t, Fleet: stage.NewFleet(stage.Options{Binary: binary, Dir: t.TempDir(), Addresses: a})}
	h.logs(demo, "Ctrl-C stops everything")
	fourth := h.upstream()
	defer fourth.Kill()
	h.logs(demo, "+", fourth.ID)
	fourth.Kill()
	h.logs(demo, "- ", fourth.ID)
	if err := demo.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := demo.Wait(within(t, patience)); err != nil {
		t.Error(err)
	}
	if err := a.CheckFree(); err != nil {
		t.Errorf("after the demo: %v", err)
	}
}

func TestNothingOutlivesAKilledDemo(t *testing.T) {
	a := wellKnown(t)
	demo := terminal(t, t.TempDir(), "rollcall demo")
	h := &harness{t: t}
	h.logs(demo, "Ctrl-C stops everything")
	demo.Kill()
	h.eventually("every port is free again", func(context.Context) error { return a.CheckFree() })
}

func TestDemoNamesATakenPort(t *testing.T) {
	wellKnown(t)
	first := terminal(t, t.TempDir(), "rollcall upstream -p 8082")
	h := &harness{t: t}
	h.eventually("the port is taken", func(context.Context) error {
		if stage.CheckFree("127.0.0.1:8082") == nil {
			return os.ErrNotExist
		}
		return nil
	})
	code, out := rollcall(t, "demo", "--once")
	if code != 1 || !strings.Contains(out, "127.0.0.1:8082") || strings.Contains(out, "runs") {
		t.Errorf("exit code %d, want 1 and the port named before anything runs:\n%s", code, out)
	}
	first.Kill()
}

func TestSampleFilesWorkWithTheDefaultPorts(t *testing.T) {
	samples := must2(filepath.Glob("../envoy/*.yaml"))(t)
	if len(samples) < 5 {
		t.Fatalf("%d sample files, want one for each transport at least", len(samples))
	}
	a, home := wellKnown(t), t.TempDir()
	terminal(t, home, "rollcall eds")
	terminal(t, home, "rollcall upstream -p 8081")
	client := stage.NewClient(a.Listener, false)
	for _, sample := range samples {
		t.Run(filepath.Base(sample), func(t *testing.T) {
			path := must2(filepath.Abs(sample))(t)
			proxy := terminal(t, home, envoyPath+" --disable-hot-restart -c "+path)
			err := proxy.Await(within(t, patience), func(ctx context.Context) error { return client.Get(ctx).Failure() })
			if err != nil {
				t.Error(err)
			}
		})
	}
}
