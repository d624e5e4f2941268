package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/child"
)

// The defaults of RunOptions.
const (
	DefaultLogLevel    = "warning" // info has more than a hundred lines at each start
	DefaultStopTimeout = 10 * time.Second
)

// LogLevels returns what Envoy takes as its log level.
func LogLevels() []string {
	return []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "off"}
}

// RunOptions say how to run one Envoy.
type RunOptions struct {
	Path string // the binary, from Find

	// One of the two: the YAML itself, or a file that holds it.
	Bootstrap     []byte
	BootstrapFile string

	LogLevel    string        // one of LogLevels; default DefaultLogLevel
	Stdout      io.Writer     // access log; nil discards it
	Stderr      io.Writer     // Envoy's own log; nil discards it
	StopTimeout time.Duration // between SIGTERM and SIGKILL; default DefaultStopTimeout

	// Ready is called once when Envoy takes requests, within a minute of its start, with
	// the address of its admin interface; nil: not called.
	Ready func(admin string)
}

// Run runs Envoy until it ends or ctx does. When ctx ends, Envoy gets SIGTERM, and
// SIGKILL after StopTimeout. The error is nil when Envoy did as it was told; it
// wraps an *exec.ExitError when Envoy ended by itself with a code other than 0, or
// had to be killed. Any number of Envoys may run side by side.
func Run(ctx context.Context, o RunOptions) (err error) {
	fill(&o.LogLevel, DefaultLogLevel)
	fill(&o.StopTimeout, DefaultStopTimeout)
	if err := o.check(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rollcall-envoy-*")
	if err != nil {
		return fmt.Errorf("make a folder for envoy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := o.BootstrapFile
	if file == "" {
		file = filepath.Join(dir, "bootstrap.yaml") // Envoy goes by the suffix
		if err := os.WriteFile(file, o.Bootstrap, 0o600); err != nil {
			return fmt.Errorf("write envoy bootstrap: %w", err)
		}
	}
	return o.run(ctx, file, filepath.Join(dir, "admin"))
}

func (o RunOptions) check() error {
	switch {
	case o.Path == "":
		return errors.New("run envoy: no binary given")
	case (len(o.Bootstrap) == 0) == (o.BootstrapFile == ""):
		return errors.New("run envoy: give either a bootstrap or a bootstrap file")
	case !slices.Contains(LogLevels(), o.LogLevel):
		return fmt.Errorf("log level %q is none of %s", o.LogLevel, strings.Join(LogLevels(), ", "))
	case o.StopTimeout < 0:
		return fmt.Errorf("stop timeout is %s, give more than 0", o.StopTimeout)
	}
	return nil
}

// run has Envoy write the address of its admin interface to admin.
func (o RunOptions) run(ctx context.Context, file, admin string) error {
	if o.Ready != nil {
		waiting, cancel := context.WithTimeout(ctx, readyWithin)
		var asking sync.WaitGroup
		defer asking.Wait()
		defer cancel()
		asking.Go(func() { awaitReady(waiting, admin, o.Ready) })
	}
	// The death signal of sysProcAttr is tied to the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// Hot restart would tie Envoys with the same base id together.
	cmd := exec.CommandContext(ctx, o.Path, "--config-path", file, "--admin-address-path", admin, "--log-level", o.LogLevel, "--disable-hot-restart")
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	cmd.SysProcAttr = sysProcAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = o.StopTimeout
	err := child.Run(cmd)
	if cmd.ProcessState == nil {
		return fmt.Errorf("start envoy: %w", err)
	}
	return o.outcome(ctx, cmd.ProcessState, err)
}

// outcome judges how Envoy ended; err is what Cmd made of it.
func (o RunOptions) outcome(ctx context.Context, state *os.ProcessState, err error) error {
	status, _ := state.Sys().(syscall.WaitStatus)
	exit := &exec.ExitError{ProcessState: state}
	switch {
	case state.Success() && (err == nil || ctx.Err() != nil):
		return nil
	case state.Success():
		return fmt.Errorf("pass envoy's output on: %w", err)
	case ctx.Err() == nil:
		return fmt.Errorf("envoy ended by itself, its log says why: %w", exit)
	case status.Signaled() && status.Signal() == syscall.SIGTERM:
		return nil // it was asked to stop before it had set up its handler
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return fmt.Errorf("envoy did not stop within %s: %w", o.StopTimeout, exit)
	default:
		return fmt.Errorf("envoy failed while it stopped: %w", exit)
	}
}
