// Package produce puts a known load on the source cluster and keeps the ledger
// of the first leg: which sequences it reserved, which the cluster
// acknowledged, and which certainly failed.
//
// The load is an open loop: records are due at times that a schedule assigns
// whatever the cluster does. What does not fit into the bounded buffer is shed
// and counted, and never delays what is due later.
package produce

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/schedule"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// Values of Config.Acks.
const (
	AcksAll    = "all"
	AcksLeader = "1"
	AcksNone   = "0"
)

const (
	// maxMessageSize bounds Config.MessageSize: the client sends at most 100 MiB
	// in one request, and larger batches than this help nobody.
	maxMessageSize = units.Size(32 << 20)
	// recordOverhead is what a buffered record takes beside its value: the
	// record's own structure, ours, headers and the key.
	recordOverhead = 512
)

// Config says what load to make.
type Config struct {
	// TestID names the test; everything that belongs to it carries the name.
	TestID string
	// ID names the producer. It stays the same when the producer is started
	// again, and no two producers of a test share it.
	ID string
	// Topics to produce to; none if SettingsFile names some.
	Topics []string

	// Throughput of each topic, and the size of a message's value. SetRate,
	// SetMessageSize and the settings file change them while the load runs.
	Throughput  units.Rate
	MessageSize units.Size
	// UseMessageHeaders puts the identity into headers and not into the value.
	UseMessageHeaders bool
	// Keys is message.KeysBalanced or message.KeysSeed.
	Keys string
	// Compressibility is the part of the payload, 0 to 1, that compression can
	// take away.
	Compressibility float64
	// SettingsFile, YAML or JSON, has the rate and the size of topics (see
	// settings.Read). It is read again when it changes. Topics that it names
	// beside Topics get load from when they exist; nothing more is sent to those
	// that it names no more. Empty: none.
	SettingsFile string

	// CreateTopics makes the topics that do not exist, with NumPartitions and
	// NumReplicas (0: as many as there are brokers, up to 3) and Retention; those
	// that exist must have as many. If it is false the topics must exist.
	CreateTopics  bool
	NumPartitions int
	NumReplicas   int
	Retention     time.Duration

	// Duration of the load; 0: until Run's context ends.
	Duration time.Duration
	// Records that the schedule asks for, for each topic; 0: no bound. The load
	// ends when every topic has had them, those included that are not there yet.
	Records uint64

	// Acks is AcksAll, AcksLeader or AcksNone. Idempotent needs AcksAll.
	Acks       string
	Idempotent bool
	// MaxInFlight is how many requests may be under way to each broker. 0 means
	// 1, or what the client does by itself (up to 5) if Idempotent. It cannot be
	// set if Idempotent. With more than 1, records may change places.
	MaxInFlight int
	// Compression is none, gzip, snappy, lz4 or zstd.
	Compression string
	// Linger is how long a record may wait for others to share its batch; up to a
	// minute.
	Linger time.Duration
	// MaxBuffered bounds the memory of records that are not acknowledged yet:
	// their values and half a kilobyte for each.
	MaxBuffered units.Size
	// DeliveryTimeout gives records up that were not acknowledged for so long; at
	// least a second. 0: never, they are tried again until the load stops.
	DeliveryTimeout time.Duration

	// SnapshotInterval is how often the ledger is stored: less often, down to
	// every 5 s, if it would exceed 1 % of the load.
	SnapshotInterval time.Duration
	// MetadataInterval is how often new partitions are looked for.
	MetadataInterval time.Duration
	// ShutdownTimeout bounds the stop: waiting for what was sent, and storing the
	// ledger.
	ShutdownTimeout time.Duration
	// LedgerReplicas of the ledger's topic if it has to be made; 0: as many as
	// there are brokers, up to 3.
	LedgerReplicas int
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read. TestID, ID and Topics have none.
func (c *Config) SetDefaults() {
	*c = Config{
		Throughput:       units.Rate{Kind: units.Records, PerSecond: 1000},
		MessageSize:      1000,
		Keys:             message.KeysBalanced,
		NumPartitions:    1,
		Retention:        5 * time.Minute,
		Acks:             AcksAll,
		Idempotent:       true,
		Compression:      "none",
		Linger:           5 * time.Millisecond,
		MaxBuffered:      64 << 20,
		SnapshotInterval: time.Second,
		MetadataInterval: 3 * time.Second,
		ShutdownTimeout:  30 * time.Second,
	}
}

// Validate reports every mistake in c at once. It reads no file and asks no
// cluster.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	errs = append(errs, checkTestID(c.TestID), message.ValidateProducerID(c.ID), settings.CheckTopics(c.Topics, c.SettingsFile))
	errs = append(errs, c.checkSetting(Setting{Rate: c.Throughput, Size: c.MessageSize}))
	check(c.Keys == message.KeysBalanced || c.Keys == message.KeysSeed, "keys %q are unknown: use %s or %s", c.Keys, message.KeysBalanced, message.KeysSeed)
	check(c.Compressibility >= 0 && c.Compressibility <= 1, "compressibility %v is out of range: use 0 (random bytes) to 1 (all bytes the same)", c.Compressibility)
	if c.CreateTopics {
		made := c.topicsConfig([]string{"checked-above"}, c.MessageSize)
		errs = append(errs, made.Validate())
	}
	check(c.Duration >= 0, "duration %s is negative: use 0 for no end", c.Duration)

	switch c.Acks {
	case AcksAll:
	case AcksLeader, AcksNone:
		check(!c.Idempotent, "acks %s and an idempotent producer exclude each other: use acks all, or switch idempotence off (--idempotent=false)", c.Acks)
	default:
		check(false, "acks %q are unknown: use %s, %s or %s", c.Acks, AcksAll, AcksLeader, AcksNone)
	}
	check(c.MaxInFlight >= 0, "%d requests in flight: use 1 or more, or 0 for the default", c.MaxInFlight)
	check(c.MaxInFlight == 0 || !c.Idempotent, "the number of requests in flight cannot be set for an idempotent producer: leave it at 0, or switch idempotence off (--idempotent=false)")
	if _, err := codec(c.Compression); err != nil {
		errs = append(errs, err)
	}
	check(c.Linger >= 0 && c.Linger <= time.Minute, "linger %s is out of range: use 0 to 1m", c.Linger)
	check(c.DeliveryTimeout == 0 || c.DeliveryTimeout >= time.Second, "delivery timeout %s is too short: use a second or more, or 0 for none", c.DeliveryTimeout)
	check(c.SnapshotInterval >= 10*time.Millisecond && c.SnapshotInterval <= maxSnapshotInterval, "snapshot interval %s is out of range: use 10ms to %s", c.SnapshotInterval, maxSnapshotInterval)
	check(c.MetadataInterval >= 10*time.Millisecond && c.MetadataInterval <= time.Hour, "metadata interval %s is out of range: use 10ms to 1h", c.MetadataInterval)
	check(c.ShutdownTimeout > 0, "shutdown timeout %s: use more than 0", c.ShutdownTimeout)
	check(c.LedgerReplicas >= 0, "%d ledger replicas: use 1 or more, or 0 for as many as there are brokers, up to 3", c.LedgerReplicas)
	return errors.Join(errs...)
}

func checkTestID(id string) error {
	if id == "" || strings.Contains(id, "/") || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("test id %q: use a name such as 2018-11-long-haul, without '/'", id)
	}
	return nil
}

// Setting is what can be changed of a topic's load while it runs.
type Setting struct {
	Rate units.Rate
	Size units.Size
}

// paused is whether nothing is to be sent.
func (s Setting) paused() bool { return s.Rate.Kind == units.Records && s.Rate.PerSecond == 0 }

// recordsPerSecond is the rate in the schedule's terms.
func (s Setting) recordsPerSecond() float64 {
	if s.Rate.Kind == units.Unlimited {
		return schedule.Unlimited
	}
	return s.Rate.RecordsPerSecond(s.Size)
}

func (c *Config) format() message.Format {
	if c.UseMessageHeaders {
		return message.FormatHeaders
	}
	return message.FormatValue
}

// checkSetting reports what is wrong with a rate and a size together.
func (c *Config) checkSetting(s Setting) error {
	var errs []error
	least := units.Size(c.format().MinSize(c.ID))
	switch {
	case s.Size < least:
		errs = append(errs, fmt.Errorf("message size %d B is too small: the identity of a record of producer %q needs %d B (or use message headers)", s.Size, c.ID, least))
	case s.Size > maxMessageSize:
		errs = append(errs, fmt.Errorf("message size %s is too large: use %s at most", s.Size, maxMessageSize))
	case c.MaxBuffered < 2*(s.Size+recordOverhead):
		errs = append(errs, fmt.Errorf("max buffered %s is too small: two messages of %s need %d B", c.MaxBuffered, s.Size, 2*(s.Size+recordOverhead)))
	}
	rate := s.recordsPerSecond()
	switch {
	case s.Rate.Kind == units.Unlimited:
	case !(s.Rate.PerSecond > 0):
		errs = append(errs, fmt.Errorf("throughput %v/s is not a load: use more than 0, such as 20k/s, 100MB/s or max", s.Rate.PerSecond))
	case math.IsInf(rate, 0):
		errs = append(errs, fmt.Errorf("throughput %s counts bytes, and a message has none: use a message size above 0, or a rate in records", s.Rate))
	default:
		if err := schedule.CheckRate(rate); err != nil {
			errs = append(errs, fmt.Errorf("throughput %s with messages of %s: %w", s.Rate, s.Size, err))
		}
	}
	return errors.Join(errs...)
}

// topicsConfig says how topics for messages of this size are to be made.
func (c *Config) topicsConfig(names []string, size units.Size) topics.Config {
	made := topics.Config{Names: names, Partitions: c.NumPartitions, Replicas: c.NumReplicas, Retention: c.Retention}
	if need := units.Size(largestBatch(size)); need > defaultMaxMessageBytes {
		made.MaxMessageBytes = need
	}
	return made
}

// largestBatch bounds what a batch of a single record of this size takes.
func largestBatch(size units.Size) int64 { return int64(size) + recordOverhead }

func codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("compression %q is unknown: use none, gzip, snappy, lz4 or zstd", name)
}
