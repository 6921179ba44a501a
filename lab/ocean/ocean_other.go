//go:build !linux

package ocean

import "fmt"

// New makes an Ocean on Linux.
func New(Config) (Network, error) {
	return nil, fmt.Errorf("%w: network namespaces and TUN devices need Linux", ErrUnavailable)
}
