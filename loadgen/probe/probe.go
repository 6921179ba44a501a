// Package probe makes small side experiments on two clusters that a replicator
// joins: each writes known records to a topic of its own at the source, waits
// until the replicator has brought them, and compares both logs exactly. They
// show what a load of one kind of record cannot: what becomes of null keys,
// duplicate headers, tombstones, oversized records, transactions, the offsets of
// consumer groups and the settings of topics.
package probe

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// TopicPrefix begins the name of a probe's topic where none is given. The
// replicator must copy such topics.
const TopicPrefix = "probe-"

// Config says which probe is made, and how.
type Config struct {
	// Probe is one of Names.
	Probe string
	// Topic is the probe's own: nothing else may write to it, and it must be
	// empty if it exists. Empty means a fresh name, TopicPrefix, the probe and the
	// time: a replicator remembers how far it had read a topic of the same name.
	Topic string
	// Partitions of the topic where it has to be made; 1 to 100.
	Partitions int
	// Replicas of the topic at the source and at the destination; 0 means as many
	// as there are brokers, up to 3.
	Replicas, DestinationReplicas int
	// TopicConfig are settings of the topic on both sides, beside those that the
	// probe needs.
	TopicConfig map[string]string
	// ReplicatorCreates leaves it to the replicator to make the topic at the
	// destination.
	ReplicatorCreates bool
	// Idle is for how long the replicator may make no progress before it is not
	// waited for any longer; at least a second.
	Idle time.Duration
	// Settle is how long the destination is watched for what comes late, after
	// the last record has arrived.
	Settle time.Duration
	// Allow names checks that are measured and may fail.
	Allow []string
	// Remove deletes the topics and groups that the probe made. A replicator that
	// still asks for the topic may complain, or even make it again.
	Remove bool

	// Compressions are those that the probe fidelity writes with, of Compressions(). A replicator whose client does not
	// know one may stop at it, and show nothing else.
	Compressions []string
	// Negative has the probe fidelity send a record with a timestamp before 1970 in
	// the end, at which MirrorMaker 2 stops for good.
	Negative bool
	// Records is how many records the probe offsets writes to each partition, and
	// how many keys the probe compaction has in each.
	Records int
	// CompactFirst has the probe compaction wait until the source's log is
	// compacted before it looks at the destination: a replicator that is stopped
	// meanwhile then reads a log with holes.
	CompactFirst bool
	// Group is the consumer group of the probe offsets; empty means a fresh name.
	Group string
	// MaxReread is how many records the group may read twice; -1 means any number.
	MaxReread int
	// ProducerLimit is the largest request of the replicator's producer, around
	// which the probe sizes tries (Java's max.request.size).
	ProducerLimit units.Size
	// MustArrive is the size of a batch up to which a record has to arrive in the
	// probe sizes; 0 means what the destination's topic takes.
	MustArrive units.Size
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read.
func (c *Config) SetDefaults() {
	*c = Config{Partitions: 3, Idle: time.Minute, Settle: 2 * time.Second, Records: 200, MaxReread: -1, ProducerLimit: 1 << 20, Compressions: Compressions()}
}

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	kind, ok := find(c.Probe)
	if !ok {
		refuse("probe %q: use one of %s", c.Probe, strings.Join(Names(), ", "))
	}
	if c.Topic != "" {
		errs = append(errs, topics.ValidateNames([]string{c.Topic}))
	}
	if c.Partitions < 1 || c.Partitions > 100 {
		refuse("%d partitions: use 1 to 100", c.Partitions)
	}
	for _, n := range []int{c.Replicas, c.DestinationReplicas} {
		if n < 0 || n > 1<<15-1 {
			refuse("%d replicas: use 1 or more, or 0 for as many as there are brokers, up to 3", n)
		}
	}
	if c.Idle < time.Second {
		refuse("idle %s: use a second or more", c.Idle)
	}
	if c.Settle < 0 {
		refuse("settle %s: use 0 or more", c.Settle)
	}
	for i, name := range c.Allow {
		switch {
		case ok && !slices.ContainsFunc(kind.checks, func(k check) bool { return k.name == name }):
			refuse("allow %q: probe %s has no such check: use some of %s", name, c.Probe, strings.Join(kind.checkNames(), ", "))
		case slices.Contains(c.Allow[:i], name):
			refuse("allow %q is given twice", name)
		}
	}
	if c.Probe == Fidelity && len(c.Compressions) == 0 {
		refuse("no compressions: use some of %s", strings.Join(Compressions(), ", "))
	}
	for i, name := range c.Compressions {
		switch {
		case !slices.Contains(Compressions(), name):
			refuse("compression %q: use some of %s", name, strings.Join(Compressions(), ", "))
		case slices.Contains(c.Compressions[:i], name):
			refuse("compression %q is given twice", name)
		}
	}
	if c.Records < 2 || c.Records > 100_000 {
		refuse("%d records: use 2 to 100000", c.Records)
	}
	if c.MaxReread < -1 {
		refuse("%d records read twice: use 0 or more, or -1 for any number", c.MaxReread)
	}
	if c.ProducerLimit < 1024 || c.ProducerLimit > 64<<20 {
		refuse("producer limit %s: use 1KiB to 64MiB", c.ProducerLimit)
	}
	for name := range c.TopicConfig {
		if _, taken := kind.settings[name]; taken && c.Probe == TopicConfig {
			refuse("topic setting %s: probe %s changes it itself", name, TopicConfig)
		}
	}
	if c.Probe == Sizes && c.ReplicatorCreates {
		refuse("probe %s has to know beforehand how large a batch the destination takes: it makes the topic there itself", Sizes)
	}
	if c.MustArrive < 0 {
		refuse("must arrive %s: use 0B or more", c.MustArrive)
	}
	return errors.Join(errs...)
}

// settings are c for the document.
func (c *Config) settings() map[string]string {
	s := map[string]string{
		"partitions": strconv.Itoa(c.Partitions), "replicator_creates": strconv.FormatBool(c.ReplicatorCreates),
		"idle": c.Idle.String(), "settle": c.Settle.String(), "allow": strings.Join(c.Allow, ","),
	}
	for _, name := range slices.Sorted(maps.Keys(c.TopicConfig)) {
		s["topic."+name] = c.TopicConfig[name]
	}
	switch c.Probe {
	case Fidelity:
		s["compressions"], s["negative"] = strings.Join(c.Compressions, ","), strconv.FormatBool(c.Negative)
	case Offsets:
		s["records"], s["group"], s["max_reread"] = strconv.Itoa(c.Records), c.Group, strconv.Itoa(c.MaxReread)
	case Compaction:
		s["keys"], s["compact_first"] = strconv.Itoa(c.Records), strconv.FormatBool(c.CompactFirst)
	case Sizes:
		s["producer_limit"], s["must_arrive"] = c.ProducerLimit.String(), c.MustArrive.String()
	}
	return s
}

// Deps are what a probe works with.
type Deps struct {
	Source, Destination []kgo.Opt // seeds and security
	Logger              *slog.Logger
	// Made is called when the topic is on both sides, and before anything is written to it; it returns when the
	// replicator will copy it. nil: the replicator finds it by itself while the probe waits.
	Made func(ctx context.Context, topic string, partitions int) error
}

// kind is a probe.
type kind struct {
	name, about string
	checks      []check
	// settings of the topic that the probe needs, on both sides.
	settings map[string]string
	// atSource are more of them at the source, which is made after the destination.
	atSource func(*run, context.Context) (map[string]string, error)
	run      func(*run, context.Context) error
}

// check is what a probe looks at.
type check struct {
	name, about string
	measured    bool               // never counts
	asked       func(*Config) bool // whether it is made; nil: always
}

func (k *kind) checkNames() []string {
	var names []string
	for _, c := range k.checks {
		names = append(names, c.name)
	}
	return names
}

// Names are the probes there are.
func Names() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// About says in a sentence what a probe does; empty for one that there is not.
func About(name string) string {
	k, _ := find(name)
	return k.about
}

// Checks are the names and meanings of what a probe looks at, in order.
func Checks(name string) (names, about []string) {
	k, _ := find(name)
	for _, c := range k.checks {
		about = append(about, c.about)
	}
	return k.checkNames(), about
}

func find(name string) (kind, bool) {
	for _, k := range kinds() {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// Run makes the probe. What the replicator does wrong is in the document; the
// error says why the probe could not be made.
func Run(ctx context.Context, cfg Config, deps Deps) (*Document, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k, _ := find(cfg.Probe)
	now := time.Now()
	cfg.Topic = cmp.Or(cfg.Topic, TopicPrefix+cfg.Probe+"-"+now.UTC().Format("20060102-150405")+"-"+strings.ToLower(rand.Text()[:4]))
	if cfg.Probe == Offsets {
		cfg.Group = cmp.Or(cfg.Group, cfg.Topic)
	}
	r := &run{
		cfg: cfg, kind: k, deps: deps, log: deps.Logger.With("probe", cfg.Probe, "topic", cfg.Topic),
		id: strings.ToLower(rand.Text()[:8]),
		doc: &Document{
			Schema: Schema, Probe: cfg.Probe, Topic: cfg.Topic, Started: now.UnixMicro(), Config: cfg.settings(), Versions: map[string]string{},
		},
	}
	for _, c := range k.checks {
		if c.asked != nil && !c.asked(&cfg) {
			continue
		}
		r.doc.Checks = append(r.doc.Checks, &Check{Name: c.name, About: c.about, Counts: !c.measured && !slices.Contains(cfg.Allow, c.name)})
	}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("probe %s: %w", cfg.Probe, err)
	}
	defer r.close()
	err := r.makeTopics(ctx)
	if err == nil && deps.Made != nil {
		err = deps.Made(ctx, cfg.Topic, int(r.partitions))
	}
	if err == nil {
		err = k.run(r, ctx)
	}
	r.tidy(ctx)
	if err != nil {
		if len(r.doc.Left) > 0 {
			r.log.Warn("the probe did not come to its end, and leaves something behind", "left", strings.Join(r.doc.Left, ", "))
		}
		return nil, fmt.Errorf("probe %s: %w", cfg.Probe, err)
	}
	r.doc.conclude()
	r.doc.Ended = time.Now().UnixMicro()
	return r.doc, nil
}

// clientOptions are those of every client of a side.
func (r *run) clientOptions(side []kgo.Opt, more ...kgo.Opt) []kgo.Opt {
	return slices.Concat(side, []kgo.Opt{
		kgo.WithLogger(connect.Logger(r.log)),
		kgo.MetadataMinAge(100 * time.Millisecond), // a fresh topic is found soon
	}, more)
}
