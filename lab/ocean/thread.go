package ocean

import (
	"errors"
	"os"
	"runtime"
)

// thread calls functions on an OS thread of its own.
type thread struct {
	jobs  chan func()
	end   chan struct{} // closed to end it
	ended chan struct{}
}

// newThread starts a thread, which begins with ready. Where that fails, the thread has ended.
func newThread(ready func() error) (*thread, error) {
	t := &thread{jobs: make(chan func()), end: make(chan struct{}), ended: make(chan struct{})}
	made := make(chan error)
	onThread(func() {
		defer close(t.ended)
		err := ready()
		made <- err
		for err == nil {
			select {
			case job := <-t.jobs:
				job()
			case <-t.end:
				return
			}
		}
	})
	return t, <-made
}

// do calls f on the thread.
func (t *thread) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case t.jobs <- func() { result <- f() }:
		return <-result
	case <-t.end:
		return errors.New("the host has been removed")
	}
}

func (t *thread) close() {
	close(t.end)
	<-t.ended
}

// onThread calls f in a goroutine on a thread of its own, which ends with it. That may not be the process's first
// thread: Go never ends it, and with it in a namespace the whole process would appear to be there.
func onThread(f func()) {
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if threadID() != os.Getpid() {
			close(elsewhere)
			f()
			return // locked, so the thread ends
		}
		onThread(f) // returns once it has another thread, since this one is taken
		close(elsewhere)
		runtime.UnlockOSThread()
	}()
	<-elsewhere
}
