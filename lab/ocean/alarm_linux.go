package ocean

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is one of the kernel's timers. Go's own ones are up to a millisecond late.
type alarm struct {
	clock clock
	fd    int
	file  *os.File
}

func newAlarm(c clock) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{clock: c, fd: fd, file: os.NewFile(uintptr(fd), "timer")}, nil
}

// set has it ring at that time, and no more at the time set before. Not to be called after close.
func (a *alarm) set(at time.Duration) {
	wait := max(at-a.clock.now(), 1) // 0 would disarm it
	// It cannot fail: descriptor and value are good.
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
}

// wait returns true when it rings, false when it is closed.
func (a *alarm) wait() bool {
	var rings [8]byte
	_, err := a.file.Read(rings[:])
	return err == nil
}

func (a *alarm) close() error { return a.file.Close() }
