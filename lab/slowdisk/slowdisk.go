// Package slowdisk is a directory whose disk can be made slow while a process uses it: the "slow disk" of a
// scenario. It is a FUSE file system that passes everything on to another directory, and lets reads, writes and
// syncs wait first. Files can be mapped into memory, as Kafka does with its indexes.
//
// The kernel throttles nothing of the kind: its cgroup v1 blkio controller, which many machines still have, only
// knows of direct I/O, and Kafka writes through the page cache.
package slowdisk

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable is wrapped by errors that say what this machine has not the means for.
var ErrUnavailable = errors.New("not available here")

// Slowness is how slow a disk is, on top of what it is by itself. The zero value is not at all.
type Slowness struct {
	// Read, Write and Sync are how much later each operation of the kind is done.
	Read, Write, Sync time.Duration
	// Bandwidth is what reads and writes together transfer at most, in bytes per second; 0 is without limit.
	Bandwidth int64
}

// maxLatency bounds how long a process cannot be killed, since it waits for the disk.
const maxLatency = time.Minute

// Validate returns every mistake at once, or nil.
func (s Slowness) Validate() error {
	var errs []error
	for _, l := range []struct {
		what  string
		value time.Duration
	}{{"read", s.Read}, {"write", s.Write}, {"sync", s.Sync}} {
		if l.value < 0 || l.value > maxLatency {
			errs = append(errs, fmt.Errorf("%s is %s: must be 0s to %s", l.what, l.value, maxLatency))
		}
	}
	if s.Bandwidth < 0 {
		errs = append(errs, fmt.Errorf("bandwidth is %d: must be bytes per second, or 0 for no limit", s.Bandwidth))
	}
	return errors.Join(errs...)
}

// Limits says what is less true than on a disk that really is slow, each a sentence for the report.
func Limits() []string {
	return []string{
		"On the slow disk each write waits for the disk at once, as when the page cache is full of data not yet written; before that, a real one slows down only syncs and reads.",
		"Reads of what is in the page cache are as fast as ever, as on a real disk; opening, renaming and deleting files are not slowed down.",
	}
}

// throttle says when operations are done. It knows no clock.
type throttle struct {
	slow Slowness
	free time.Time // when the bandwidth has transferred all that was asked for
}

type operation int

const (
	read operation = iota
	write
	sync
)

// take returns when an operation that is asked for now may be done.
func (t *throttle) take(now time.Time, op operation, size int) time.Time {
	at := now
	if t.slow.Bandwidth > 0 && size > 0 {
		if t.free.Before(now) {
			t.free = now
		}
		t.free = t.free.Add(time.Duration(float64(size) / float64(t.slow.Bandwidth) * float64(time.Second)))
		at = t.free
	}
	return at.Add([...]time.Duration{read: t.slow.Read, write: t.slow.Write, sync: t.slow.Sync}[op])
}
