package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sh starts a shell script.
func sh(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{
		Name: "script", Path: "/bin/sh", Args: []string{"-c", script},
		LogFile: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// says waits until p has written a line, and returns it.
func says(t *testing.T, p *Process) string {
	t.Helper()
	err := p.Await(bounded(t), func(context.Context) error {
		if !strings.Contains(p.Log(), "\n") {
			return errors.New("nothing written yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(p.Log())
}

func TestStopWaitsForACleanExit(t *testing.T) {
	p := sh(t, `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	says(t, p)
	if err := p.Stop(bounded(t)); err != nil {
		t.Error(err)
	}
	if got := p.Tail(1); got != "bye" {
		t.Errorf("last line is %q", got)
	}
}

func TestStopReportsAnExitCode(t *testing.T) {
	p := sh(t, `trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done`)
	says(t, p)
	if err := p.Stop(bounded(t)); err == nil || p.ExitCode() != 3 {
		t.Errorf("exit code %d, error %v", p.ExitCode(), err)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	p := sh(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	says(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("the process still runs")
	}
}

func TestKillTakesTheChildrenAlong(t *testing.T) {
	p := sh(t, `sleep 300 & echo $!; wait`)
	child, err := strconv.Atoi(says(t, p))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	err = Eventually(bounded(t), func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err == nil && !strings.Contains(string(stat), ") Z ") && syscall.Kill(child, 0) == nil {
			return errors.New("it runs")
		}
		return nil
	})
	if err != nil {
		t.Errorf("child %d: %v", child, err)
	}
}

func TestAwaitGivesUpWhenTheProcessEnds(t *testing.T) {
	p := sh(t, `echo the reason; exit 7`)
	err := p.Await(bounded(t), func(context.Context) error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "exit code 7") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error is %v", err)
	}
}

func TestFreePortsAreNotHandedOutTwice(t *testing.T) {
	seen := make(map[int]bool)
	for range 50 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d came twice", port)
		}
		seen[port] = true
	}
}

func TestCheckFreeNamesATakenAddress(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, addr := range []string{tcp.Addr().String(), udp.LocalAddr().String()} {
		if err := CheckFree(addr); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: error is %v", addr, err)
		}
	}
}
