package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/child"
)

// exit is how a program ended.
type exit struct {
	code int    // 128 and the signal's number when a signal ended it
	text string // "exit status 3", "signal: killed"
}

func exitOf(state *os.ProcessState) exit {
	e := exit{state.ExitCode(), state.String()}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.code = 128 + int(status.Signal())
	}
	return e
}

// codeOf is the exit code for a program that did not start.
func codeOf(err error) int {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return exitNotFound
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return exitFailed // this machine lacks resources; the program may be fine
	default:
		return exitCannot
	}
}

// program is a running child process, the leader of its own process group.
type program struct {
	cmd   *exec.Cmd
	ended chan exit // capacity one
}

// environment returns this process's environment without the variables that configure
// rollcall: they may be secret, and would configure a rollcall that the program starts. It
// adds the program's identity in the fleet.
func (o *Options) environment(own []string) []string {
	const prefix = "ROLLCALL_"
	env := slices.DeleteFunc(own, func(v string) bool { return strings.HasPrefix(v, prefix) })
	return append(env, prefix+"ID="+o.id.String(), prefix+"SERVICE="+o.Service.Name, prefix+"ADDRESS="+o.Address.String())
}

func startProgram(o *Options) (process, error) {
	cmd := exec.Command(o.Program[0], o.Program[1:]...)
	if o.Stdin != nil {
		cmd.Stdin = o.Stdin
	}
	if o.Stdout != nil {
		cmd.Stdout = o.Stdout
	}
	if o.Stderr != nil {
		cmd.Stderr = o.Stderr
	}
	cmd.SysProcAttr = sysProcAttr()
	cmd.Env = o.environment(os.Environ())
	p := &program{cmd: cmd, ended: make(chan exit, 1)}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	return p, nil
}

func (p *program) run(started chan<- error) {
	// The death signal of sysProcAttr is tied to the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := child.Start(p.cmd)
	started <- err
	if err == nil {
		_ = child.Wait(p.cmd) // the result is in ProcessState
		p.ended <- exitOf(p.cmd.ProcessState)
	}
}

func (p *program) pid() int           { return p.cmd.Process.Pid }
func (p *program) done() <-chan exit  { return p.ended }
func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // an error means that the program has just ended
func (p *program) kill()              { p.signalGroup(syscall.SIGKILL) }

// signalGroup reports whether the group still has a process.
func (p *program) signalGroup(s syscall.Signal) bool {
	return !errors.Is(syscall.Kill(-p.pid(), s), syscall.ESRCH)
}

// sweepEvery is the interval at which sweep checks whether the group is empty.
const sweepEvery = 10 * time.Millisecond

// sweep stops the processes that a program left in its group when it ended: children of a
// shell, or of a main process that crashed, which may still listen on the port.
func (p *program) sweep(patience time.Duration) {
	if !p.signalGroup(syscall.SIGTERM) {
		return
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(sweepEvery) {
		// As process 1 of a container, this process is the parent of all orphans.
		_, _ = syscall.Wait4(-p.pid(), nil, syscall.WNOHANG, nil)
		if !p.signalGroup(0) {
			return
		}
	}
	p.kill()
}
