package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// rollcall runs the binary to its end and returns its exit code and all it wrote.
func rollcall(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("rollcall %s: %v %v\n%s", strings.Join(args, " "), err, ctx.Err(), out.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// occupy listens on a fresh address, TCP and UDP, for the length of the test.
func occupy(t *testing.T) string {
	t.Helper()
	addr := stage.Local(must2(stage.FreePort())(t))
	tcp := must2(net.Listen("tcp", addr))(t)
	udp := must2(net.ListenPacket("udp", addr))(t)
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	return addr
}

func TestTakenAddressEndsTheProcessAndIsNamed(t *testing.T) {
	t.Parallel()
	free := func() string { return stage.Local(must2(stage.FreePort())(t)) }
	eds := func(flag, taken string) []string {
		flags := map[string]string{"--http": free(), "--xds": free(), "--gossip": free(), "--data-dir": t.TempDir()}
		flags[flag] = taken
		args := []string{"eds"}
		for k, v := range flags {
			args = append(args, k, v)
		}
		return args
	}
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	for name, args := range map[string]func(taken string) []string{
		"eds http":         func(taken string) []string { return eds("--http", taken) },
		"eds xds":          func(taken string) []string { return eds("--xds", taken) },
		"eds gossip":       func(taken string) []string { return eds("--gossip", taken) },
		"upstream serving": func(taken string) []string { return []string{"upstream", "-p", port(taken), "--join", free()} },
		"upstream gossip": func(taken string) []string {
			return []string{"upstream", "-p", "0", "--join", free(), "--gossip", taken}
		},
		"envoy listener": func(taken string) []string {
			return []string{"envoy", "run", "--api", "grpc", "--envoy", envoyPath, "--listen", taken, "--admin", free(), "--eds", free()}
		},
		"envoy admin": func(taken string) []string {
			return []string{"envoy", "run", "--api", "grpc", "--envoy", envoyPath, "--listen", free(), "--admin", taken, "--eds", free()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			taken := occupy(t)
			code, out := rollcall(t, args(taken)...)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if !strings.Contains(out, taken) {
				t.Errorf("the address %s is not in the message:\n%s", taken, out)
			}
		})
	}
}

func TestEveryVerbHelps(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"", "eds", "upstream", "run", "register", "envoy", "envoy bootstrap", "envoy run", "keygen", "keygen gossip", "keygen service", "keygen eds", "keys", "keys list", "keys use", "keys remove", "guards", "guards release", "demo", "version"} {
		t.Run("rollcall "+verb, func(t *testing.T) {
			t.Parallel()
			code, out := rollcall(t, append(strings.Fields(verb), "--help")...)
			if code != 0 || !strings.Contains(out, "Usage:") || !strings.Contains(out, "Examples:") {
				t.Errorf("exit code %d, want 0, a usage and an example in:\n%s", code, out)
			}
		})
	}
}

func TestShellCompletionIsWritten(t *testing.T) {
	t.Parallel()
	code, out := rollcall(t, "completion", "bash")
	if code != 0 || !strings.Contains(out, "rollcall") {
		t.Errorf("exit code %d:\n%.300s", code, out)
	}
}

func TestUsageMistakesExitWith2(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"eds", "--no-such-flag"}, {"eds", "extra"}, {"eds", "--http", "localhost:http"}, {"nosuchverb"}, {"drian", "--help"}, {"envoy", "nosuchverb"}, {"keygen", "nosuchverb"}, {"run", "--service", "s", "--port", "1"}, {"run", "--service", "s", "true"}, {"register", "--service", "s", "--address", "127.0.0.1:1", "--health", "icmp"}} {
		if code, out := rollcall(t, args...); code != 2 {
			t.Errorf("rollcall %s: exit code %d, want 2\n%s", strings.Join(args, " "), code, out)
		}
	}
}

func TestRunExitsWithTheProgramsCode(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 2, 7} {
		script := fmt.Sprintf("echo said by the program; exit %d", code)
		got, out := rollcall(t, "run", "--service", "s", "--port", "1", "--log-level", "error", "--", "sh", "-c", script)
		if got != code || out != "said by the program\n" {
			t.Errorf("exit code %d, want %d and the program's words alone in:\n%s", got, code, out)
		}
	}
}

func TestSignalsStopEveryVerbCleanly(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			eds := h.eds()
			proxy := h.envoy(envoy.DeltaADS)
			u := h.upstream()
			h.serves(u)
			// The EDS server first: it must not wait for the streams that are open.
			for _, p := range []*stage.Process{eds, u.Process, proxy} {
				if err := p.Signal(sig); err != nil {
					t.Fatal(err)
				}
				if err := p.Wait(within(t, patience)); err != nil {
					t.Errorf("%v\n%s", err, p.Tail(10))
				}
			}
		})
	}
}

func TestJSONLogs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	eds := h.eds("--log-format", "json")
	u := h.upstream("--log-format", "json")
	h.lists(u)
	for _, p := range []*stage.Process{eds, u.Process} {
		for line := range strings.Lines(p.Log()) {
			if !strings.HasPrefix(line, `{"time":`) || !strings.Contains(line, `"level":`) {
				t.Errorf("%s wrote a line that is not a JSON log record: %s", p.Name, line)
			}
		}
	}
}

func TestRegisterEndsWhenNothingAnswersInTime(t *testing.T) {
	t.Parallel()
	free := stage.Local(must2(stage.FreePort())(t))
	code, out := rollcall(t, "register", "--service", "s", "--address", free, "--health", "tcp", "--start-timeout", "1s")
	if code != 1 || !strings.Contains(out, "has not passed within 1s") {
		t.Errorf("exit code %d, want 1 and why:\n%s", code, out)
	}
}

// A stand-in, since Envoy itself stops before a second signal can be sent.
func TestASecondSignalLeavesNothingOfEnvoyBehind(t *testing.T) {
	t.Parallel()
	dir, tmp := t.TempDir(), t.TempDir()
	script := `#!/bin/sh
trap 'touch ` + dir + `/told; until [ -e ` + dir + `/go ]; do sleep 0.01; done; exit 0' TERM
touch ` + dir + `/up
while :; do sleep 0.01; done
`
	no := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	no(os.WriteFile(filepath.Join(dir, "envoy"), []byte(script), 0o700))
	ctx := within(t, patience)
	cmd := exec.CommandContext(ctx, binary, "envoy", "run", "--envoy", filepath.Join(dir, "envoy"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	no(cmd.Start())
	for _, name := range []string{"up", "told"} {
		no(stage.Eventually(ctx, func(context.Context) error { _, err := os.Stat(filepath.Join(dir, name)); return err }))
		no(cmd.Process.Signal(syscall.SIGTERM))
	}
	no(os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left := must2(os.ReadDir(tmp))(t); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
