//go:build !linux

package main

import "syscall"

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func peakOf(u *syscall.Rusage) int64 { return u.Maxrss }
