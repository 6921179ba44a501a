package ocean

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name, and a thread in it that keeps it.
type namespace struct {
	handle netns.NsHandle
	jobs   chan func()
	end    chan struct{} // closed to end the thread
	ended  chan struct{}
}

func newNamespace() (*namespace, error) {
	n := &namespace{jobs: make(chan func()), end: make(chan struct{}), ended: make(chan struct{})}
	made := make(chan error)
	onThread(func() {
		defer close(n.ended)
		var err error
		n.handle, err = netns.New()
		made <- err
		if err != nil {
			return
		}
		for {
			select {
			case job := <-n.jobs:
				job()
			case <-n.end:
				return
			}
		}
	})
	if err := <-made; err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("%w: no right to make network namespaces: run as root, with CAP_SYS_ADMIN: %w", ErrUnavailable, err)
		}
		return nil, fmt.Errorf("%w: make a network namespace: %w", ErrUnavailable, err)
	}
	return n, nil
}

// onThread calls f in a goroutine on a thread of its own, which ends with it. That may not be the process's first
// thread: Go never ends it, and all the process would appear to be in its namespace.
func onThread(f func()) {
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
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

// do calls f on the namespace's thread.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case n.jobs <- func() { result <- f() }:
		return <-result
	case <-n.end:
		return errors.New("the host has been removed")
	}
}

// apart calls f on another thread in the namespace, for what may take long.
func (n *namespace) apart(f func() error) error {
	result := make(chan error, 1)
	onThread(func() {
		if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("enter the host's network namespace: %w", err)
			return
		}
		result <- f()
	})
	return <-result
}

// close ends the thread. The namespace goes with the last process in it.
func (n *namespace) close() {
	close(n.end)
	<-n.ended
	_ = n.handle.Close() // it only drops the reference
}
