package envoy

import "syscall"

// sysProcAttr gives Envoy a process group of its own, so that Ctrl-C reaches it
// through Run alone, and ends it when the process that runs it is killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
