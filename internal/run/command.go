package run

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/child"
)

const (
	// heardOf is how much a check's command may say of why it failed.
	heardOf = 200

	// outputWait is for output that is still in the pipe when the command has ended: what
	// has left its process group may keep the pipe open.
	outputWait = 100 * time.Millisecond
)

// checkExec runs the command by the shell, in a process group of its own, which ends
// with the command or with ctx.
func checkExec(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		said, err := runCommand(ctx, command)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", command, ctx.Err())
		case len(said) > 0:
			return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(said))
		default:
			return fmt.Errorf("%s: %w", command, err)
		}
	}
}

func runCommand(ctx context.Context, command string) (said lastWords, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = w, w // files: Wait waits for the shell alone
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = endGroup
	err = child.Start(cmd)
	w.Close()
	if err != nil {
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&said, r) // until the deadline
	}()
	err = child.Wait(cmd)
	_ = endGroup() // nobody may be left in it
	_ = r.SetReadDeadline(time.Now().Add(outputWait))
	<-read
	return said, err
}

// lastWords keeps the end of what is written to it.
type lastWords []byte

func (w *lastWords) Write(p []byte) (int, error) {
	all := append(*w, p...)
	*w = all[max(0, len(all)-heardOf):]
	return len(p), nil
}
