// Package demo is a replication test in one process, which needs nothing but
// this program: two embedded clusters, a mirror between them, load, a broker
// failure, and a verdict.
package demo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Config says what the demonstration shows.
type Config struct {
	// Throughput of all producers together, and the size of a message's value.
	// All records stay in memory, twice: 2k/s of 1 kB for 30 s are 120 MB.
	Throughput  units.Rate
	MessageSize units.Size
	// Partitions of the topic, 1 or more.
	Partitions int
	// Duration of the load, 3 s or more. A source broker fails a third into it
	// and is back after another fifth.
	Duration time.Duration
	// MirrorFault is what the mirror does wrong, one of mirror.Kinds; empty:
	// nothing.
	MirrorFault string
	// Expectations are added to verdict.Defaults, or take their place.
	Expectations []verdict.Expectation
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read.
func (c *Config) SetDefaults() {
	*c = Config{
		Throughput:  units.Rate{Kind: units.Records, PerSecond: 2000},
		MessageSize: 1000,
		Partitions:  6,
		Duration:    30 * time.Second,
	}
}

const (
	minDuration = 3 * time.Second
	// maxMemory bounds what the load asks for in all.
	maxMemory = 2_000_000_000
)

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Partitions >= 1 && c.Partitions <= 1000, "%d partitions: use 1 to 1000", c.Partitions)
	check(c.MirrorFault != mirror.Misplace || c.Partitions > 1, "mirror fault %s needs more than %d partition", c.MirrorFault, c.Partitions)
	check(c.Duration >= minDuration, "duration %s is too short for a failure and a recovery: use %s or more", c.Duration, minDuration)
	if c.MirrorFault != "" && !slices.Contains(mirror.Kinds(), c.MirrorFault) {
		check(false, "mirror fault %q is unknown: use one of %s", c.MirrorFault, strings.Join(mirror.Kinds(), ", "))
	}
	load := c.producer(0)
	if c.Throughput.Kind == units.Unlimited {
		check(false, "throughput max: the embedded clusters keep all records in memory; use a rate, such as 2k/s")
	} else if err := load.Validate(); err != nil {
		errs = append(errs, err)
	} else {
		const overhead = 200 // of a record in the clusters, roughly
		need := 2 * c.rate() * float64(c.MessageSize+overhead) * c.Duration.Seconds()
		check(need <= maxMemory, "throughput %s with messages of %s for %s takes %s of memory, since the embedded clusters keep all records there: ask for less, %s at most",
			c.Throughput, c.MessageSize, c.Duration, human.Bytes(need), human.Bytes(maxMemory))
	}
	return errors.Join(errs...)
}

// rate is how many records per second there are in all.
func (c *Config) rate() float64 { return c.Throughput.RecordsPerSecond(c.MessageSize) }

// producer is the configuration of one of the producers.
func (c *Config) producer(index int) produce.Config {
	var p produce.Config
	p.SetDefaults()
	p.TestID, p.ID, p.Topics = testID, fmt.Sprintf("producer-%d", index+1), []string{topic}
	p.Throughput = units.Rate{Kind: c.Throughput.Kind, PerSecond: c.Throughput.PerSecond / producers}
	p.MessageSize = c.MessageSize
	p.Duration = c.Duration
	p.MetadataInterval = time.Second
	p.ShutdownTimeout = patience / 2
	return p
}

// fault is what the mirror is told to do wrong. Times are the mirror's, which
// starts a moment before the load.
func (c *Config) fault() []mirror.FaultConfig {
	if c.MirrorFault == "" {
		return nil
	}
	f := mirror.FaultConfig{Kind: c.MirrorFault}
	f.SetDefaults()
	perPartition := c.rate() * c.Duration.Seconds() / float64(c.Partitions)
	switch f.Kind {
	case mirror.Delay:
		f.From, f.For, f.Hold = c.Duration/6, c.Duration/10, min(1500*time.Millisecond, c.Duration/10)
	case mirror.Stall:
		// One partition stops for good.
		f.Probability, f.After, f.Partitions = 0, uint64(max(1, perPartition/2)), []int32{0}
	case mirror.Replay:
		f.Probability, f.After, f.Count = 0, uint64(max(1, perPartition/4)), int(max(1, perPartition/20))
	default:
		// Some tens of records over the whole time, whatever the load.
		f.Probability = min(0.2, 50/(c.rate()*c.Duration.Seconds()))
	}
	return []mirror.FaultConfig{f}
}
