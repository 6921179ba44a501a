package lab

import "syscall"

// childAttributes puts a child into a process group of its own, so that a terminal's Ctrl-C reaches
// the lab alone and the lab can end the child with all that it started; and has the kernel kill
// the child when the thread that started it ends, which covers a kill -9 of the lab.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
