package main

import "syscall"

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// peakOf is in bytes; Linux counts kibibytes.
func peakOf(u *syscall.Rusage) int64 { return u.Maxrss << 10 }
