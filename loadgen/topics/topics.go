// Package topics creates, describes and grows the topics a test writes to.
package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// Config says what topics are made like.
type Config struct {
	// Names are the topics; at least one.
	Names []string
	// Partitions of each topic, 1 or more.
	Partitions int
	// Replicas of each partition; 0 means as many as there are brokers, up to 3.
	Replicas int
	// Retention is how long records are kept: at least a second, or 0 for the
	// cluster's default. Kafka deletes whole segments, so a segment is closed
	// after a fifth of it: records then outlive it by no more than that, and by
	// the cluster's log.retention.check.interval.ms (5 minutes by default).
	Retention time.Duration
	// MaxMessageBytes is the largest batch a topic takes; 0 means the cluster's
	// default (1 MiB and 12 bytes, unless changed).
	MaxMessageBytes units.Size
	// MinInSyncReplicas is how many replicas must have a record before acks=all
	// is answered; 0 means the cluster's default.
	MinInSyncReplicas int
	// LogAppendTime makes the brokers stamp records with the time they are
	// appended; false means the cluster's default.
	LogAppendTime bool
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read.
func (c *Config) SetDefaults() {
	*c = Config{Partitions: 1, Retention: 5 * time.Minute}
}

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	errs := []error{ValidateNames(c.Names), validatePartitions(c.Partitions)}
	if c.Replicas < 0 || c.Replicas > 1<<15-1 {
		errs = append(errs, fmt.Errorf("%d replicas: use 1 or more, or 0 for as many as there are brokers, up to 3", c.Replicas))
	}
	if c.Retention < 0 || (c.Retention > 0 && c.Retention < time.Second) {
		errs = append(errs, fmt.Errorf("retention %s: use a second or more, or 0 for the cluster's default", c.Retention))
	}
	if c.MaxMessageBytes < 0 || c.MaxMessageBytes > 1<<31-1 {
		errs = append(errs, fmt.Errorf("largest message of %d bytes: use 1 to 2147483647, or 0 for the cluster's default", c.MaxMessageBytes))
	}
	if c.MinInSyncReplicas < 0 {
		errs = append(errs, fmt.Errorf("minimum of %d in-sync replicas: use 1 or more, or 0 for the cluster's default", c.MinInSyncReplicas))
	}
	if c.Replicas > 0 && c.MinInSyncReplicas > c.Replicas {
		errs = append(errs, fmt.Errorf("minimum of %d in-sync replicas is more than the %d replicas: no record would ever be accepted with acks=all", c.MinInSyncReplicas, c.Replicas))
	}
	return errors.Join(errs...)
}

func validatePartitions(n int) error {
	if n < 1 || n > 1<<31-1 {
		return fmt.Errorf("%d partitions: use 1 or more", n)
	}
	return nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// Names are topics that must be there.
type Names []string

// Validate is ValidateNames.
func (n *Names) Validate() error { return ValidateNames(*n) }

// ValidateNames reports every name that is no topic's name, or given twice, and
// two names that Kafka takes for one ('.' and '_' are the same in its metrics).
func ValidateNames(names []string) error {
	if len(names) == 0 {
		return errors.New("no topics: name at least one")
	}
	var errs []error
	seen := make(map[string]string, len(names))
	for _, name := range names {
		if name == "." || name == ".." || !validName.MatchString(name) {
			errs = append(errs, fmt.Errorf("topic %q: use 1 to 249 letters, digits, '.', '_' or '-'", name))
			continue
		}
		key := strings.ReplaceAll(name, ".", "_")
		switch other, ok := seen[key]; {
		case ok && other == name:
			errs = append(errs, fmt.Errorf("topic %q is named twice", name))
		case ok:
			errs = append(errs, fmt.Errorf("topics %q and %q differ in '.' and '_' only, which Kafka refuses: rename one", other, name))
		default:
			seen[key] = name
		}
	}
	return errors.Join(errs...)
}

// settings returns the topic configuration that c asks for.
func (c *Config) settings() map[string]*string {
	set := map[string]*string{}
	put := func(key, value string) { set[key] = &value }
	if c.Retention > 0 {
		put("retention.ms", strconv.FormatInt(c.Retention.Milliseconds(), 10))
		put("segment.ms", strconv.FormatInt(c.Retention.Milliseconds()/5, 10))
	}
	if c.MaxMessageBytes > 0 {
		put("max.message.bytes", strconv.FormatInt(int64(c.MaxMessageBytes), 10))
	}
	if c.MinInSyncReplicas > 0 {
		put("min.insync.replicas", strconv.Itoa(c.MinInSyncReplicas))
	}
	if c.LogAppendTime {
		put("message.timestamp.type", "LogAppendTime")
	}
	return set
}

// refusal is an error that trying again does not cure.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refused reports whether an error of this package will be the same if the same
// is asked again: a permission that is missing, a topic that is of another
// shape, a setting that the cluster does not take. Other errors are of brokers
// that are away at the moment.
func Refused(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// judge makes the cluster's own word on a request a refusal, unless it is one of
// those that pass.
func judge(err error) error {
	var answer *kerr.Error
	if !errors.As(err, &answer) || answer.Retriable {
		return err
	}
	switch answer {
	case kerr.InvalidReplicationFactor, // brokers are missing
		kerr.InvalidPartitions: // it has them already, which the broker asked before did not know
		return err
	}
	return refusal{err}
}

// Create makes every topic of c, which must be valid, and returns when all
// their partitions have leaders. A topic that exists is an error, and then no
// topic is made.
func Create(ctx context.Context, client *kgo.Client, c Config) error {
	existing, err := lookup(ctx, client, c.Names)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(existing)) {
		errs = append(errs, fmt.Errorf("topic %q exists already, with %s: choose another name, or delete it first", name, shape(existing[name])))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, taken, err := create(ctx, client, c, c.Names)
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		return fmt.Errorf("topics %s: someone else created them at this moment: choose other names, or delete them first", strings.Join(taken, ", "))
	}
	return await(ctx, client, c.Names, c.Partitions)
}

// Ensured says what Ensure found and did.
type Ensured struct {
	// Created and Kept are the topics made, and those that existed already.
	Created, Kept []string
	// Differences are the settings of kept topics that are not as asked, a
	// sentence each. They are left alone; the caller should tell the user.
	Differences []string
}

// Ensure makes those topics of c, which must be valid, that do not exist, and
// returns when all their partitions have leaders. An existing topic must have
// the partitions and the replicas asked for (any number, for 0 replicas): the
// error names both numbers, and then no topic is made. Any number of processes
// may ensure the same topics at the same time.
func Ensure(ctx context.Context, client *kgo.Client, c Config) (Ensured, error) {
	created, _, err := ensure(ctx, client, c, func(name string, have int) error {
		switch {
		case have < c.Partitions:
			return fmt.Errorf("topic %q has %d partitions, not %d: ask for %d, or add partitions (loadgen topics apply), or use another topic", name, have, c.Partitions, have)
		case have > c.Partitions:
			return fmt.Errorf("topic %q has %d partitions, not %d: ask for %d, or use another topic (Kafka cannot remove partitions)", name, have, c.Partitions, have)
		}
		return nil
	})
	done := Ensured{Created: created}
	if err != nil {
		return done, err
	}
	if err := await(ctx, client, c.Names, c.Partitions); err != nil {
		return done, err
	}
	done.Kept = without(c.Names, created)
	done.Differences, err = c.tell(ctx, client, done.Kept)
	return done, err
}

func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

// ensure makes those topics that do not exist, and returns them and those that
// did. Those that exist must have the replicas asked for, and a number of
// partitions that fits has nothing against; else no topic is made.
func ensure(ctx context.Context, client *kgo.Client, c Config, fits func(name string, have int) error) (created []string, existing topicMap, err error) {
	for {
		existing, err = lookup(ctx, client, c.Names)
		if err != nil {
			return created, nil, err
		}
		var errs []error
		var missing []string
		for _, name := range c.Names {
			t, ok := existing[name]
			if !ok {
				if !slices.Contains(created, name) {
					missing = append(missing, name)
				}
				continue
			}
			errs = append(errs, fits(name, len(t.Partitions)))
			if r := replicas(t); c.Replicas > 0 && r != c.Replicas {
				errs = append(errs, fmt.Errorf("topic %q has %d replicas, not %d: ask for %d, or reassign its partitions, or use another topic", name, r, c.Replicas, r))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return created, nil, refusal{err}
		}
		if len(missing) == 0 {
			return created, existing, nil
		}
		made, taken, err := create(ctx, client, c, missing)
		created = append(created, made...)
		if err != nil {
			return created, nil, err
		}
		if len(taken) == 0 {
			return created, existing, nil
		}
		// Another process was faster. Look at what it made, once it shows.
		if err := pause(ctx); err != nil {
			return created, nil, fmt.Errorf("wait for topics %s, which another process creates: %w", strings.Join(taken, ", "), err)
		}
	}
}

// create makes the topics, and tells which of them it made and which someone
// else had made in between.
func create(ctx context.Context, client *kgo.Client, c Config, names []string) (created, taken []string, err error) {
	admin := kadm.NewClient(client)
	cluster, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for the cluster's brokers: %w", err)
	}
	brokers := len(cluster.Brokers)
	if c.Replicas == 0 {
		c.Replicas = min(3, brokers)
	}
	if c.Replicas > brokers {
		return nil, nil, fmt.Errorf("%d replicas, but the cluster has %d brokers now: ask for %d or fewer, or wait for the others", c.Replicas, brokers, brokers)
	}
	if c.MinInSyncReplicas > c.Replicas {
		return nil, nil, fmt.Errorf("minimum of %d in-sync replicas, but with %d brokers there are %d replicas: ask for %d or fewer", c.MinInSyncReplicas, brokers, c.Replicas, c.Replicas)
	}
	answers, err := admin.CreateTopics(ctx, int32(c.Partitions), int16(c.Replicas), c.settings(), names...)
	if err != nil {
		return nil, nil, fmt.Errorf("create topics %s: %w", strings.Join(names, ", "), err)
	}
	var errs []error
	for _, name := range names {
		switch a := answers[name]; {
		case a.Err == nil, errors.Is(a.Err, kerr.RequestTimedOut):
			// A controller that is busy goes on creating the topic after it has
			// stopped waiting for it. Whether it comes is found out by await.
			created = append(created, name)
		case errors.Is(a.Err, kerr.TopicAlreadyExists):
			taken = append(taken, name)
		case connect.Denied(a.Err):
			errs = append(errs, refusal{fmt.Errorf("no permission to create topic %q: grant this user CREATE on the topic or on the cluster, or have someone create it and use it as it is: %w", name, a.Err)})
		case errors.Is(a.Err, kerr.InvalidTopicException):
			errs = append(errs, refusal{fmt.Errorf("the cluster refuses the name %q (another topic may differ in '.' and '_' only): use another: %w", name, said(a.Err, a.ErrMessage))})
		default:
			errs = append(errs, judge(fmt.Errorf("create topic %q: %w", name, said(a.Err, a.ErrMessage))))
		}
	}
	return created, taken, errors.Join(errs...)
}

// said adds what the broker wrote about an error, if anything.
func said(err error, message string) error {
	if message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}

// Growth says which topics are to grow, and how far.
type Growth struct {
	// Names are the topics; at least one.
	Names []string
	// Partitions each topic is to have, 1 or more.
	Partitions int
}

// Validate reports every mistake in g at once.
func (g *Growth) Validate() error {
	return errors.Join(ValidateNames(g.Names), validatePartitions(g.Partitions))
}

// Grow adds partitions to every topic of g, which must be valid, and returns
// when they all have leaders. Topics that have that many already are left alone;
// one that has more, or is missing, is an error, and then no topic is grown.
func Grow(ctx context.Context, client *kgo.Client, g Growth) error {
	existing, err := require(ctx, client, g.Names)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range g.Names {
		if have := len(existing[name].Partitions); have > g.Partitions {
			errs = append(errs, shrink(name, have, g.Partitions))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return refusal{err}
	}
	if _, err := addPartitions(ctx, client, existing, g.Partitions); err != nil {
		return err
	}
	return await(ctx, client, g.Names, g.Partitions)
}

func shrink(name string, have, asked int) error {
	return fmt.Errorf("topic %q has %d partitions, %d were asked for: partitions cannot shrink: ask for %d or more, or delete the topic first", name, have, asked, have)
}

// addPartitions gives the topics as many partitions as asked for, and returns
// those that had fewer.
func addPartitions(ctx context.Context, client *kgo.Client, existing topicMap, partitions int) (grown []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(existing)) {
		if len(existing[name].Partitions) < partitions {
			grown = append(grown, name)
		}
	}
	if len(grown) == 0 {
		return nil, nil
	}
	answers, err := kadm.NewClient(client).UpdatePartitions(ctx, partitions, grown...)
	if err != nil {
		return nil, fmt.Errorf("add partitions to %s: %w", strings.Join(grown, ", "), err)
	}
	var errs []error
	for _, a := range answers.Sorted() {
		switch {
		case a.Err == nil:
		case connect.Denied(a.Err):
			errs = append(errs, refusal{fmt.Errorf("no permission to add partitions to topic %q: grant this user ALTER on it: %w", a.Topic, a.Err)})
		default:
			errs = append(errs, judge(fmt.Errorf("add partitions to topic %q: %w", a.Topic, said(a.Err, a.ErrMessage))))
		}
	}
	return grown, errors.Join(errs...)
}

// Permission is what a test needs to do with a topic.
type Permission kmsg.ACLOperation

// The permissions Check can ask for.
const (
	Read  = Permission(kmsg.ACLOperationRead)
	Write = Permission(kmsg.ACLOperationWrite)
)

// Check reports, in one error, every one of the topics that is missing, that
// this user may not see, or that it has not got the permissions for.
func Check(ctx context.Context, client *kgo.Client, names []string, needs ...Permission) error {
	if err := ValidateNames(names); err != nil {
		return err
	}
	existing, err := require(ctx, client, names)
	errs := []error{err}
	for _, name := range names {
		allowed := existing[name].AuthorizedOperations
		if _, ok := existing[name]; !ok || allowed == math.MinInt32 {
			continue // the second is Kafka's word for "not told", before 2.3
		}
		for _, need := range needs {
			if allowed&(1<<need) == 0 {
				operation := kmsg.ACLOperation(need).String()
				errs = append(errs, fmt.Errorf("no permission to %s topic %q: grant this user %s on it", strings.ToLower(operation), name, operation))
			}
		}
	}
	return errors.Join(errs...)
}

func require(ctx context.Context, client *kgo.Client, names []string) (topicMap, error) {
	existing, err := lookup(ctx, client, names)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		if _, ok := existing[name]; !ok {
			errs = append(errs, fmt.Errorf("topic %q does not exist on this cluster: check its name and the cluster, or create it (loadgen topics create)", name))
		}
	}
	return existing, errors.Join(errs...)
}

// topicMap has topics by name.
type topicMap map[string]kmsg.MetadataResponseTopic

// lookup returns those topics that exist. It asks the cluster itself, where
// kadm would answer from the client's cache, and learns of each topic that may
// not be seen, where kadm tells of one without its name.
func lookup(ctx context.Context, client *kgo.Client, names []string) (topicMap, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("look up topics %s: %w", strings.Join(names, ", "), err)
	}
	existing := topicMap{}
	var errs []error
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		// A topic without a leader, just made or just broken, is there.
		case err == nil, errors.Is(err, kerr.LeaderNotAvailable):
			existing[*t.Topic] = t
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		case connect.Denied(err):
			errs = append(errs, refusal{fmt.Errorf("no permission to see topic %q: grant this user DESCRIBE on it: %w", *t.Topic, err)})
		default:
			errs = append(errs, judge(fmt.Errorf("look up topic %q: %w", *t.Topic, err)))
		}
	}
	return existing, errors.Join(errs...)
}

// await returns when every topic has its partitions, each with a leader, as the
// broker that we ask sees it. Brokers learn of a new topic one after another.
func await(ctx context.Context, client *kgo.Client, names []string, partitions int) error {
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var waiting string
	for {
		existing, err := lookup(ctx, client, names)
		if err == nil {
			if waiting = firstUnready(existing, names, partitions); waiting == "" {
				return nil
			}
		}
		if end := pause(ctx); end != nil {
			return fmt.Errorf("wait for leaders of all partitions: %s: %w", waiting, errors.Join(err, end))
		}
	}
}

// pause waits a moment before the cluster is asked again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

func firstUnready(existing topicMap, names []string, partitions int) string {
	for _, name := range names {
		if have := len(existing[name].Partitions); have < partitions {
			return fmt.Sprintf("topic %q shows %d of %d partitions", name, have, partitions)
		}
		for _, p := range existing[name].Partitions {
			if p.Leader < 0 || p.ErrorCode == kerr.LeaderNotAvailable.Code {
				return fmt.Sprintf("partition %d of topic %q has no leader", p.Partition, name)
			}
		}
	}
	return ""
}
