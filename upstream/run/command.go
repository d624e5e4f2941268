package run

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

const (
	// heardOf is how much a check's command may say of why it failed.
	heardOf = 200

	// outputWait is for output whose writer outlived its parent.
	outputWait = time.Second
)

// checkExec runs the command by the shell, in a process group of its own that
// ends with ctx.
func checkExec(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		var said lastWords
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = outputWait
		err := cmd.Run()
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

// lastWords keeps the end of what is written to it.
type lastWords []byte

func (w *lastWords) Write(p []byte) (int, error) {
	all := append(*w, p...)
	*w = all[max(0, len(all)-heardOf):]
	return len(p), nil
}
