// Package stage sets up a fleet of real processes on this machine and watches it
// from outside, as a user would: it starts and stops rollcall's verbs, asks
// through Envoy, and reads the HTTP API and Envoy's admin port. The demo, the
// end-to-end tests and the benchmark share it.
package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/child"
)

// Command says what to start.
type Command struct {
	Name    string // for messages
	Path    string // of the program
	Args    []string
	Dir     string   // to start in; "" is this process's own
	Env     []string // added to this process's environment
	LogFile string   // takes stdout and stderr; appended to
}

// Process is a child process that does not outlive this one. Its methods may be
// called from any goroutine.
type Process struct {
	Name    string
	LogFile string
	Started time.Time // just before the program was started

	cmd  *exec.Cmd
	done chan struct{} // closed once the process has been reaped
	err  error         // how it ended; read only after done
}

// Start starts c. The child leads a process group of its own, so that a Ctrl-C
// on the terminal reaches this process alone and the children end in order.
func Start(c Command) (*Process, error) {
	log, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Name, err)
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttr()
	p := &Process{Name: c.Name, LogFile: c.LogFile, Started: time.Now(), cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(log, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return p, nil
}

// run starts the child and reaps it on one locked thread: the kernel sends the
// parent-death signal when the thread that started the child ends, not the process.
func (p *Process) run(log *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer log.Close()
	if err := child.Start(p.cmd); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = child.Wait(p.cmd)
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // whatever it left behind in its group
	close(p.done)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig to the process alone, not to its children.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits until it is reaped.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Stop sends SIGTERM and waits for a clean exit. When ctx ends first the process
// is killed, which is an error, as is an exit code other than 0.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Wait(ctx)
}

// Wait waits for the process to end and returns an error unless it ended with 0.
// When ctx ends first the process is killed.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not end by itself and was killed: %w", p.Name, context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("%s ended: %w", p.Name, p.err)
	}
	return nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode returns the exit code, or -1 while the process runs or when a signal ended it.
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Log returns what the process has written so far.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Tail returns the last n lines of the log.
func (p *Process) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Await calls check every few milliseconds until it returns nil. It gives up with
// check's last error when ctx ends, and at once when the process ends.
func (p *Process) Await(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return Eventually(ctx, func(ctx context.Context) error {
		err := check(ctx)
		select {
		case <-p.done:
			cancel(fmt.Errorf("%s ended with exit code %d:\n%s", p.Name, p.ExitCode(), p.Tail(15)))
		default:
		}
		return err
	})
}

// Eventually calls check every 5 ms until it returns nil. When ctx ends it
// returns the cause and check's last error, or the one before if ctx cut that short.
func Eventually(ctx context.Context, check func(context.Context) error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
