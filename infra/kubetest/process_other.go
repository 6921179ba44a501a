//go:build !linux

package kubetest

import "syscall"

// childAttributes puts a child into a process group of its own. Only Linux can tie the child's life to ours.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
