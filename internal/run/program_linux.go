package run

import "syscall"

// sysProcAttr starts the program in its own session, so that Ctrl-C in the terminal reaches
// it only through Run. It can still read from the terminal, which would stop a background
// process group. The kernel kills it when this process dies.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
