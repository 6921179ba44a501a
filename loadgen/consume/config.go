// Package consume reads what arrives at the destination cluster and verifies
// it, partition by partition. What it knows of a partition, and the offset up
// to which it knows it, are one snapshot in the ledger, so that a crash, a
// rebalance or a paused process changes no count: whoever comes next goes on
// exactly where the snapshot ends.
package consume

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
)

// maxSnapshotInterval is how rare snapshots may get when they would otherwise
// exceed their share of the load.
const maxSnapshotInterval = 10 * time.Second

// Config says what to read.
type Config struct {
	// TestID names the test. Records of other tests are counted as foreign.
	TestID string
	// ID names this consumer in logs and in the ledger.
	ID string
	// Topics to read; none if SettingsFile names some. Those that do not exist yet
	// are waited for.
	Topics []string
	// SettingsFile, YAML or JSON, names topics to read beside Topics (see
	// settings.Read). It is read again when it changes. Topics that it names no
	// more, but that this test has read before, are read on. Empty: none.
	SettingsFile string

	// Group is the consumer group that shares the partitions out. Empty: no
	// group; then consumer Index of Instances (from 0) reads its fixed share.
	Group            string
	Instances, Index int

	// SnapshotInterval is how often the state is stored: less often, down to
	// every 10 s, if it would exceed 1 % of the load (or 64 KiB/s, if that is
	// more).
	SnapshotInterval time.Duration
	// MetadataInterval is how often new topics and partitions are looked for.
	MetadataInterval time.Duration
	// ShutdownTimeout bounds the stop: storing the last snapshots.
	ShutdownTimeout time.Duration
	// LedgerReplicas of the ledger's topic if it has to be made; 0: as many as
	// there are brokers, up to 3.
	LedgerReplicas int
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read. TestID, ID and Topics have none.
func (c *Config) SetDefaults() {
	*c = Config{
		Instances:        1,
		SnapshotInterval: time.Second,
		MetadataInterval: 2 * time.Second,
		ShutdownTimeout:  30 * time.Second,
	}
}

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	name := func(s string) bool {
		return s != "" && !strings.Contains(s, "/") && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}
	check(name(c.TestID), "test id %q: use a name such as 2018-11-long-haul, without '/'", c.TestID)
	check(name(c.ID), "consumer id %q: use a name such as consumer-0, without '/'", c.ID)
	errs = append(errs, settings.CheckTopics(c.Topics, c.SettingsFile))
	check(c.Instances >= 1, "%d instances: use 1 or more", c.Instances)
	check(c.Index >= 0 && (c.Index < c.Instances || c.Instances < 1), "index %d of %d instances: use 0 to %d", c.Index, c.Instances, max(0, c.Instances-1))
	check(c.Group == "" || c.Instances <= 1 && c.Index == 0, "group %q and %d instances exclude each other: the group shares the partitions out", c.Group, c.Instances)
	check(c.SnapshotInterval >= 10*time.Millisecond && c.SnapshotInterval <= maxSnapshotInterval, "snapshot interval %s is out of range: use 10ms to %s", c.SnapshotInterval, maxSnapshotInterval)
	check(c.MetadataInterval >= 10*time.Millisecond && c.MetadataInterval <= time.Hour, "metadata interval %s is out of range: use 10ms to 1h", c.MetadataInterval)
	check(c.ShutdownTimeout > 0, "shutdown timeout %s: use more than 0", c.ShutdownTimeout)
	check(c.LedgerReplicas >= 0, "%d ledger replicas: use 1 or more, or 0 for as many as there are brokers, up to 3", c.LedgerReplicas)
	return errors.Join(errs...)
}
