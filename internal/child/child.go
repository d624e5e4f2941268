// Package child starts programs and waits for them, also as process 1 of a container,
// whose children all orphans of the container become.
//
// The children of a process are one set, and a wait for any of them takes its exit
// status. So there is one register of them, as os/signal has one of handlers.
package child

import (
	"os/exec"
	"sync"
)

var (
	mu  sync.Mutex           // held while a child starts, and while an orphan is reaped
	own = make(map[int]bool) // what Start has started and Wait has not waited for yet
)

// Start starts cmd. Its exit status is for [Wait].
func Start(cmd *exec.Cmd) error {
	mu.Lock()
	defer mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	own[cmd.Process.Pid] = true
	return nil
}

// Wait waits for what Start has started, and returns what cmd.Wait does.
func Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	mu.Lock()
	defer mu.Unlock()
	delete(own, cmd.Process.Pid)
	return err
}

// Run is [Start] and [Wait].
func Run(cmd *exec.Cmd) error {
	if err := Start(cmd); err != nil {
		return err
	}
	return Wait(cmd)
}
