package run

import "syscall"

// sysProcAttr gives the program a session of its own: Ctrl-C in the terminal
// reaches it through Run alone, and it may still read from the terminal, which
// would stop a mere background group. It ends with the process that runs it.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
