//go:build unix && !linux

package stage

import "syscall"

// childAttr puts a child into a group of its own. Only Linux can tie a child's
// life to its parent's.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
