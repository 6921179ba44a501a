//go:build !linux

package selftest

import (
	"errors"
	"io"
)

// Netem needs Linux.
func Netem(io.Writer) error {
	return errors.New("only Linux has netem: run it on a node of the cluster")
}
