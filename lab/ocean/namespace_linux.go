package ocean

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name, and a thread in it that keeps it.
type namespace struct {
	*thread
	handle netns.NsHandle
}

func newNamespace() (*namespace, error) {
	n := &namespace{}
	var err error
	n.thread, err = newThread(func() (err error) {
		n.handle, err = netns.New()
		return err
	})
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: no right to make network namespaces: run as root, with CAP_SYS_ADMIN: %w", ErrUnavailable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: make a network namespace: %w", ErrUnavailable, err)
	}
	return n, nil
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
	n.thread.close()
	_ = n.handle.Close() // it only drops the reference
}

func threadID() int { return unix.Gettid() }
