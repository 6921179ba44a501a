//go:build !linux

package ocean

import (
	"context"
	"fmt"
	"io"
)

// New makes an Ocean on Linux.
func New(Config) (Network, error) {
	return nil, fmt.Errorf("%w: network namespaces and TUN devices need Linux", ErrUnavailable)
}

// Measure measures an Ocean on Linux.
func Measure(context.Context, io.Writer) error {
	_, err := New(Config{})
	return err
}
