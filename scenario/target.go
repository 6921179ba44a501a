package scenario

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// ErrCannotPlay is wrapped by what Target.Check returns for a scenario that the target has not the means
// for, such as a network without an emulator. Such a scenario is neither passed nor failed.
var ErrCannotPlay = errors.New("cannot be played here")

// Target is where a scenario is played: it converges on a Config. Its methods are called by one
// goroutine at a time, in the order Check, Start, any number of Converge, Mark and Status, Drain, and
// Stop in any case; Status by another while Drain lasts.
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

// EndSuffix stands behind a fault's kind in the event that says that it has ended. A target tells the
// auditor when a fault really began, as an event of the fault's kind such as broker-outage, and when a
// lasting one really ended, as broker-outage-end; and what happened by itself, such as a process that
// died. Of other changes, such as of the number of brokers, the runner has told it already.
const EndSuffix = verdict.EndSuffix

// Features that a scenario may need of a target, beside what its Config says.
const (
	FeatureOcean    = "ocean"    // a network between the regions whose delay, loss and partition can be set
	FeaturePackets  = "packets"  // such a network that carries packets: what a connection carries is bounded by its socket buffers and by loss
	FeatureSlowDisk = "slowDisk" // brokers whose disk can be slowed down
	FeatureClock    = "clock"    // load tools whose clock can be set wrong
	FeatureRoot     = "root"     // the rights of root
)

// Features returns the meaning of each feature.
func Features() map[string]string {
	return map[string]string{
		FeatureOcean:    "a network between the regions whose delay, loss and partition can be set",
		FeaturePackets:  "a network between the regions that carries packets, so that socket buffers and loss bound what a connection carries",
		FeatureSlowDisk: "brokers whose disk can be slowed down",
		FeatureClock:    "load tools whose clock can be set wrong",
		FeatureRoot:     "the rights of root",
	}
}

func featureNames() string { return strings.Join(slices.Sorted(maps.Keys(Features())), ", ") }

// Equipped is a Target that knows which features it has. Provides returns nil for one that is there, and
// else an error that wraps ErrCannotPlay and says why it is not. Other targets are taken to have all.
type Equipped interface {
	Provides(feature string) error
}

// Witness is a Target that leaves evidence of a run: Evidence puts the logs of its processes, the
// configuration files that it generated and the last metrics below dir, which exists. No secret may be
// among them. It is called before Stop, also when Start or a Converge has failed.
type Witness interface {
	Evidence(ctx context.Context, dir string) error
}

// Metered is a Target whose processes have metrics: Metrics puts the last ones below dir, which exists. It is
// called before Drain, while all of them run.
type Metered interface {
	Metrics(ctx context.Context, dir string) error
}

// Spacious is a Target that keeps records on this machine. Sends tells it, before Check and Start, how many bytes the
// load may come to, so that it can look for room.
type Spacious interface {
	Sends(bytes float64)
}

// Ready is a Target that can find out, before anything is made, what this machine lacks for a scenario that Check has
// taken. An error that wraps ErrCannotPlay is about that scenario alone, such as its room on the disk; any other is
// about all of them. What is there now may be gone when Start looks again.
type Ready interface {
	Ready(ctx context.Context, baseline Config) error
}

// Describer is a Target that can say more about itself: ReplicatorName is what copies under c where that is
// not c.Destination.Replicator, empty otherwise; Versions are those of what it runs.
type Describer interface {
	ReplicatorName(c Config) string
	Versions() map[string]string
}
