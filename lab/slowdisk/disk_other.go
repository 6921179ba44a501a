//go:build !linux

package slowdisk

import (
	"fmt"
	"log/slog"
)

// Disk is a mounted directory. There is none elsewhere than on Linux.
type Disk struct{}

// Mount mounts a directory on Linux.
func Mount(string, string, *slog.Logger) (*Disk, error) {
	return nil, fmt.Errorf("%w: it needs Linux", ErrUnavailable)
}

// Set changes how slow the disk is.
func (*Disk) Set(Slowness) error { return ErrUnavailable }

// Delayed is how many operations had to wait so far.
func (*Disk) Delayed() uint64 { return 0 }

// Close unmounts the directory.
func (*Disk) Close() error { return nil }

// Clean unmounts what ended processes have left.
func Clean() ([]string, error) { return nil, nil }
