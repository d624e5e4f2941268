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
	// maxOutput is how many bytes of a failed check's output are kept, from its end.
	maxOutput = 200

	// outputWait bounds reading the rest of the output after the command has ended: a process
	// that has left its process group may keep the pipe open.
	outputWait = 100 * time.Millisecond
)

// checkExec runs the command in a shell, in its own process group, which is killed when the
// command or ctx ends.
func checkExec(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		output, err := runCommand(ctx, command)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", command, ctx.Err())
		case len(output) > 0:
			return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(output))
		default:
			return fmt.Errorf("%s: %w", command, err)
		}
	}
}

func runCommand(ctx context.Context, command string) (output tail, err error) {
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
		_, _ = io.Copy(&output, r) // until the deadline
	}()
	err = child.Wait(cmd)
	_ = endGroup() // kills what the command left running
	_ = r.SetReadDeadline(time.Now().Add(outputWait))
	<-read
	return output, err
}

// tail keeps the last maxOutput bytes that are written to it.
type tail []byte

func (w *tail) Write(p []byte) (int, error) {
	all := append(*w, p...)
	*w = all[max(0, len(all)-maxOutput):]
	return len(p), nil
}
