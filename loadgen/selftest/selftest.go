// Package selftest proves that what a test stands on works: every broker of a
// cluster, the way through the replicator, and the kernel's network emulation.
// Jobs run it before anything that depends on it.
package selftest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// random returns text that nobody has used before.
func random() string { return rand.Text()[:16] }

// pause waits for d, or returns why it did not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// reason prefers what went wrong to the news that the time is up.
func reason(ctx context.Context, last, err error) error {
	if last != nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
	}
	return err
}
