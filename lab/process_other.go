//go:build !linux

package lab

import "syscall"

// childAttributes puts a child into a process group of its own. Only Linux can tie the child's life
// to the lab's: elsewhere a kill -9 of the lab leaves its children running.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
