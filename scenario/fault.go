package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

// Fault is one thing that is broken on purpose, on the side in whose configuration it stands. The
// zero value is none.
type Fault struct {
	// Kind is one of FaultKinds; empty for no fault.
	Kind string `json:"kind,omitempty"`
	// Victims are the indexes of the brokers or workers that are hit.
	Victims []int `json:"victims,omitempty"`
	// Percent of the packets that are lost, above 0 and up to 100.
	Percent float64 `json:"percent,omitempty"`
	// Latency is added to each packet, or with a slow disk to each write; Jitter is how far it varies, at
	// most Latency.
	Latency Duration `json:"latency,omitempty"`
	Jitter  Duration `json:"jitter,omitempty"`
	// Offset is by how much a clock is ahead, or behind if it is below 0, and Drift how much further ahead
	// it is after each second.
	Offset Duration `json:"offset,omitempty"`
	Drift  Duration `json:"drift,omitempty"`
	// Duration is how long a lasting fault lasts, 1s to 24h.
	Duration Duration `json:"duration,omitempty"`
	// Run says which time this is, and 0 is before the first time. A fault begins when it is set or
	// anything of it changes; the next Run has the same begin again. None begins on the first update of
	// a stack, whatever Run is then.
	Run int `json:"run,omitempty"`
}

// What a kind of fault hits.
const (
	TargetBroker = "broker"
	TargetWorker = "worker"
	TargetRegion = "region"
	TargetClock  = "clock" // of the load tools: producers at the source, consumers at the destination
)

// ClockError is the kind of fault that sets the clocks of load tools wrong.
const ClockError = "clock-error"

// FaultKind describes a kind of fault.
type FaultKind struct {
	// Target is what its victims are. A fault of a region has no victims: it hits all of it.
	Target string
	// Lasting faults end after a duration; the others are over at once.
	Lasting bool
	// Loss, Delay and Clock say which further values the kind takes.
	Loss, Delay, Clock bool
	// LabOnly kinds are played by the lab alone: the stacks, which break by Chaos Mesh, refuse them.
	LabOnly bool
}

// FaultKinds returns the kinds of fault by name.
func FaultKinds() map[string]FaultKind {
	kinds := map[string]FaultKind{
		"region-partition": {Target: TargetRegion, Lasting: true},                             // no packet crosses the ocean
		"region-delay":     {Target: TargetRegion, Lasting: true, Delay: true, LabOnly: true}, // of the whole ocean, each way
		"region-loss":      {Target: TargetRegion, Lasting: true, Loss: true, LabOnly: true},  // of the whole ocean, each way
		"region-outage":    {Target: TargetRegion, Lasting: true, LabOnly: true},              // every broker of the side down
		"broker-slow-disk": {Target: TargetBroker, Lasting: true, Delay: true, LabOnly: true}, // each write takes longer
		ClockError:         {Target: TargetClock, Lasting: true, Clock: true, LabOnly: true},  // the times that load tools send and record are wrong
	}
	for _, target := range []string{TargetBroker, TargetWorker} {
		kinds[target+"-kill"] = FaultKind{Target: target}                  // container killed; disk and address kept
		kinds[target+"-outage"] = FaultKind{Target: target, Lasting: true} // down for a time
		kinds[target+"-replace"] = FaultKind{Target: target}               // pod killed: empty disk, new address
		kinds[target+"-loss"] = FaultKind{Target: target, Lasting: true, Loss: true}
		kinds[target+"-delay"] = FaultKind{Target: target, Lasting: true, Delay: true}
		kinds[target+"-pause"] = FaultKind{Target: target, Lasting: true, LabOnly: true} // SIGSTOP: connections stay open, nothing answers
		kinds[target+"-partition"] = FaultKind{Target: target, Lasting: true}            // cut off from everything
	}
	return kinds
}

// validate checks f on a side with so many brokers, workers, and load tools, which have a name.
func (f Fault) validate(brokers, workers, tools int, tool string) []error {
	if f.Kind == "" {
		if len(f.Victims) > 0 || f.Percent != 0 || f.Latency != 0 || f.Jitter != 0 || f.Offset != 0 || f.Drift != 0 || f.Duration != 0 {
			return []error{fmt.Errorf("fault.kind is missing: give one of %s, or leave the whole fault out", kindNames())}
		}
		return nil
	}
	kind, known := FaultKinds()[f.Kind]
	if !known {
		return []error{fmt.Errorf("fault.kind: %q is not known: use one of %s", f.Kind, kindNames())}
	}
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	there, what := brokers, kind.Target
	switch kind.Target {
	case TargetWorker:
		there = workers
	case TargetClock:
		there, what = tools, tool
	}
	switch {
	case kind.Target == TargetRegion:
		if len(f.Victims) > 0 {
			refuse("fault.victims: %v: %s hits the whole region and has no victims: leave them out", f.Victims, f.Kind)
		}
	case there == 0:
		refuse("fault.kind: %q: this side has no %ss", f.Kind, what)
	case len(f.Victims) == 0:
		refuse("fault.victims: none: name at least one %s by its index, 0 to %d", what, there-1)
	}
	seen := map[int]bool{}
	for _, v := range f.Victims {
		if kind.Target != TargetRegion && there > 0 && (v < 0 || v >= there) {
			refuse("fault.victims: there is no %s %d: use 0 to %d", what, v, there-1)
		}
		if seen[v] {
			refuse("fault.victims: %d is named twice", v)
		}
		seen[v] = true
	}
	switch {
	case kind.Lasting && (f.Duration < Duration(time.Second) || f.Duration > Duration(24*time.Hour)):
		refuse("fault.duration: %s: %s lasts: use 1s to 24h", f.Duration, f.Kind)
	case !kind.Lasting && f.Duration != 0:
		refuse("fault.duration: %s: %s is over at once: leave the duration out", f.Duration, f.Kind)
	}
	switch {
	case kind.Loss && !(f.Percent > 0 && f.Percent <= 100):
		refuse("fault.percent: %v: use above 0 and up to 100", f.Percent)
	case !kind.Loss && f.Percent != 0:
		refuse("fault.percent: %v: %s loses no packets: leave it out", f.Percent, f.Kind)
	}
	switch {
	case kind.Delay && (f.Latency < Duration(time.Millisecond) || f.Latency > Duration(time.Minute)):
		refuse("fault.latency: %s: use 1ms to 1m", f.Latency)
	case f.Kind == "broker-slow-disk" && f.Jitter != 0:
		refuse("fault.jitter: %s: a slow disk has none: leave it out", f.Jitter)
	case kind.Delay && (f.Jitter < 0 || f.Jitter > f.Latency):
		refuse("fault.jitter: %s: use 0s to the latency, %s", f.Jitter, f.Latency)
	case !kind.Delay && (f.Latency != 0 || f.Jitter != 0):
		refuse("fault.latency: %s delays nothing: leave latency and jitter out", f.Kind)
	}
	clock := wallclock.Error{Offset: time.Duration(f.Offset), Drift: time.Duration(f.Drift)}
	switch {
	case !kind.Clock && clock != wallclock.Error{}:
		refuse("fault.offset: %s sets no clock wrong: leave offset and drift out", f.Kind)
	case kind.Clock && clock == wallclock.Error{}:
		refuse("fault.offset: 0s without a drift is a clock that is right: give an offset such as 250ms, or a drift such as 1ms a second")
	case clock.Validate() != nil:
		refuse("fault: %w", clock.Validate())
	}
	if f.Run < 0 {
		refuse("fault.run: %d: use 0 or more, and the next number to begin the fault", f.Run)
	}
	return errs
}

func kindNames() string { return strings.Join(slices.Sorted(maps.Keys(FaultKinds())), ", ") }
