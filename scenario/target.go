package scenario

import (
	"context"
	"errors"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// ErrCannotPlay is wrapped by what Target.Check returns for a scenario that the target has not the means
// for, such as a network without an emulator. Such a scenario is neither passed nor failed.
var ErrCannotPlay = errors.New("cannot be played here")

// Target is where a scenario is played: it converges on a Config. Its methods are called by one
// goroutine at a time, in the order Check, Start, any number of Converge, Mark and Status, Drain, and
// Stop in any case.
type Target interface {
	// Name is how --target calls it.
	Name() string
	// Check says what is wrong with configs, a scenario's baseline and what each step makes of it, before
	// anything is made.
	Check(configs []Config) error
	// Start converges on the baseline. It returns when a record has crossed and the load runs.
	Start(ctx context.Context, baseline Config) error
	// Converge changes what runs, until it is as next says. A change of its fault begins that fault: one
	// that is over at once has happened when Converge returns; one that lasts has begun, and ends by
	// itself after its duration. What really happened, and when, the target tells the auditor as events.
	Converge(ctx context.Context, next Config) error
	// Mark tells the auditor of something that the target did not do itself.
	Mark(ctx context.Context, event verdict.Event) error
	// Status returns the verdict so far.
	Status(ctx context.Context) (*verdict.Document, error)
	// Drain ends the load, waits until nothing arrives any more, and returns the final verdict.
	Drain(ctx context.Context) (*verdict.Document, error)
	// Stop ends and removes everything. It can be called more than once.
	Stop(ctx context.Context) error
}
