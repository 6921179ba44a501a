// Package register tells a replicator which topics to copy, over its REST interface, and waits until
// it does.
package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// The replicators.
const (
	UReplicator  = "ureplicator"
	Brooklin     = "brooklin"
	MirrorMaker2 = "mirrormaker2" // finds topics and partitions by itself
	None         = "none"
)

// What is done about a topic that has more partitions than the replicator knows of.
const (
	GrowthNone             = "none"             // nothing: see whether the replicator finds them
	GrowthCure             = "cure"             // the replicator is told
	GrowthDestinationFirst = "destinationFirst" // nothing here: the destination's topic grows before the source's
)

// Config says what to register where.
type Config struct {
	// Replicator is UReplicator, Brooklin, MirrorMaker2 or None; for the last two there is nothing to do.
	Replicator string
	// URL is where the replicator serves its REST interface, such as http://ureplicator:9000.
	URL string
	// Topics are names, at least one, each with :PARTITIONS after it if it has other than Partitions.
	// With a Pattern Brooklin needs none.
	Topics []string
	// Partitions of each topic, 1 or more. Brooklin and MirrorMaker 2 see for themselves.
	Partitions int
	// Growth is GrowthNone, GrowthCure or GrowthDestinationFirst. It matters to uReplicator only:
	// Brooklin goes on by itself once the destination has the partitions too.
	//
	// When uReplicator is told, the destination must have its new partitions already, or it puts their
	// records into others.
	Growth string
	// Instances is how many uReplicator workers must be alive before a topic is registered, 1 or more:
	// one that is registered before any worker joined is never copied.
	Instances int
	// Settle is how long the number of workers must have stayed the same besides, 0 or more: partitions
	// are given to those that are there.
	Settle time.Duration
	// Timeout bounds all of it, more than 0.
	Timeout time.Duration

	// Source are the bootstrap servers that Brooklin is to copy from.
	Source []string
	// Pattern is a regular expression for the whole names of the topics that Brooklin is to copy; empty
	// means Topics.
	Pattern string
	// Datastream names Brooklin's datastream, and the consumer group that keeps its place.
	Datastream string

	poll time.Duration // how often the replicator is asked again
}

// SetDefaults sets every field to its default.
func (c *Config) SetDefaults() {
	*c = Config{
		Partitions: 1, Growth: GrowthNone, Instances: 1, Settle: 10 * time.Second, Timeout: 5 * time.Minute,
		Datastream: "kmt", poll: time.Second,
	}
}

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{UReplicator, Brooklin, MirrorMaker2, None}, c.Replicator) {
		refuse("replicator %q: use ureplicator, brooklin, mirrormaker2 or none", c.Replicator)
	}
	if !slices.Contains([]string{GrowthNone, GrowthCure, GrowthDestinationFirst}, c.Growth) {
		refuse("partition growth %q: use none, cure or destinationFirst", c.Growth)
	}
	if c.Instances < 1 {
		refuse("%d instances: use 1 or more: a topic that is registered before any worker joined is never copied", c.Instances)
	}
	if c.Settle < 0 {
		refuse("settle time %s: use 0 or more", c.Settle)
	}
	if c.Timeout <= 0 {
		refuse("timeout %s: use more than 0", c.Timeout)
	}
	if c.Partitions < 1 {
		refuse("%d partitions: use 1 or more", c.Partitions)
	}
	_, err := c.topics()
	errs = append(errs, err)
	switch c.Replicator {
	case UReplicator:
		_, err := replicators.NewUReplicatorClient(c.URL)
		errs = append(errs, err)
	case Brooklin:
		_, err := replicators.NewBrooklinClient(c.URL)
		_, datastreamErr := c.datastream()
		errs = append(errs, err, datastreamErr)
	}
	return errors.Join(errs...)
}

// topic is one to register.
type topic struct {
	name       string
	partitions int
}

// topics takes the numbers of partitions off the names.
func (c *Config) topics() ([]topic, error) {
	var all []topic
	var names []string
	var errs []error
	for _, t := range c.Topics {
		name, number, given := strings.Cut(t, ":")
		partitions := c.Partitions
		if given {
			var err error
			if partitions, err = strconv.Atoi(number); err != nil || partitions < 1 {
				errs = append(errs, fmt.Errorf("topic %q: use NAME or NAME:PARTITIONS, of which there is at least 1", t))
			}
		}
		all, names = append(all, topic{name, partitions}), append(names, name)
	}
	if len(names) > 0 || c.Replicator != Brooklin || c.Pattern == "" {
		errs = append(errs, topics.ValidateNames(names))
	}
	return all, errors.Join(errs...)
}

// datastream is what Brooklin is to have.
func (c *Config) datastream() (replicators.Datastream, error) {
	pattern := c.Pattern
	if pattern == "" {
		all, err := c.topics()
		if err != nil {
			return replicators.Datastream{}, nil // reported already
		}
		var names []string
		for _, t := range all {
			names = append(names, regexp.QuoteMeta(t.name))
		}
		pattern = replicators.Patterns(names...)
	}
	return replicators.NewDatastream(c.Datastream, c.Source, pattern)
}

// Done says what Register found and did, a sentence each.
type Done struct {
	Changed   []string // what the replicator was told
	Unchanged []string // what it copied already
	Left      []string // what it does not copy in full, as the growth asked for says
}

// Register makes the replicator copy what c, which must be valid, asks for, and returns when it says
// that it does. Doing it again changes nothing. Whatever the replicator is too busy or too young to
// answer is asked again, until the time is over; the error then says what was missing.
func Register(ctx context.Context, c Config, log *slog.Logger) (Done, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, errTime)
	defer cancel()
	switch c.Replicator {
	case UReplicator:
		return registerUReplicator(ctx, c, log)
	case Brooklin:
		return registerBrooklin(ctx, c, log)
	}
	return Done{Unchanged: []string{c.Replicator + ": nothing to register"}}, nil
}

var errTime = errors.New("the time is over")

// until calls step until it says it is done, or fails for good, or the time is over. step says what it
// still waits for.
func (c *Config) until(ctx context.Context, log *slog.Logger, step func(ctx context.Context) (missing string, err error)) error {
	var said string
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	for {
		missing, err := step(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !replicators.Passing(err):
			return err
		case err != nil && ctx.Err() == nil:
			missing = "an answer: " + err.Error()
		case err == nil && missing == "":
			return nil
		}
		if ctx.Err() == nil && missing != said {
			log.Info("waiting", "replicator", c.Replicator, "for", missing)
			said = missing
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errTime) {
				return fmt.Errorf("%s: after %s still waiting for %s", c.Replicator, c.Timeout, said)
			}
			return fmt.Errorf("%s: waiting for %s: %w", c.Replicator, said, ctx.Err())
		}
	}
}

func registerUReplicator(ctx context.Context, c Config, log *slog.Logger) (Done, error) {
	client, err := replicators.NewUReplicatorClient(c.URL)
	if err != nil {
		return Done{}, err
	}
	all, err := c.topics()
	if err != nil {
		return Done{}, err
	}
	if err := c.until(ctx, log, c.workers(client)); err != nil {
		return Done{}, err
	}
	var done Done
	for _, t := range all {
		if err := c.until(ctx, log, c.copied(client, t, &done)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// workers is a step that waits for enough workers, and for their number to rest.
func (c *Config) workers(client *replicators.UReplicatorClient) func(context.Context) (string, error) {
	alive, since := -1, time.Now()
	return func(ctx context.Context) (string, error) {
		names, err := client.Instances(ctx)
		if err != nil {
			return "", err
		}
		if len(names) != alive {
			alive, since = len(names), time.Now()
		}
		switch {
		case alive < c.Instances:
			return fmt.Sprintf("workers: %d of %d are alive", alive, c.Instances), nil
		case time.Since(since) < c.Settle:
			return fmt.Sprintf("more workers than %d to come or not, %s", alive, c.Settle), nil
		}
		return "", nil
	}
}

// copied is a step that looks at a topic, tells the controller what it does not know yet, and waits for
// the workers. What it tells is written to done.
func (c *Config) copied(client *replicators.UReplicatorClient, t topic, done *Done) func(context.Context) (string, error) {
	var told string
	tell := func(sentence string, err error) (string, error) {
		if err == nil && sentence != told { // not again while the workers are away
			told = sentence
			done.Changed = append(done.Changed, sentence)
		}
		return fmt.Sprintf("topic %q to be known", t.name), err
	}
	return func(ctx context.Context) (string, error) {
		view, known, err := client.Topic(ctx, t.name)
		switch {
		case err != nil:
			return "", err
		case !known:
			return tell(fmt.Sprintf("registered %s with %d partitions", t.name, t.partitions), client.Add(ctx, t.name, t.partitions))
		case view.Assigned == 0:
			// Next time it is not known.
			return tell(fmt.Sprintf("removed %s, which had been registered before any worker joined", t.name), client.Delete(ctx, t.name))
		case view.Assigned > t.partitions:
			return "", fmt.Errorf("topic %q: uReplicator copies %d partitions, more than %d: partitions cannot be taken away: "+
				"ask for %d, or delete the topic from uReplicator (DELETE /topics/%s) and run this again", t.name, view.Assigned, t.partitions, view.Assigned, t.name)
		case view.Assigned < t.partitions && c.Growth != GrowthCure:
			done.Left = append(done.Left, fmt.Sprintf("%s: uReplicator knows of %d partitions of %d, and is not told (partition growth %s)", t.name, view.Assigned, t.partitions, c.Growth))
			return "", nil
		case view.Assigned < t.partitions:
			return tell(fmt.Sprintf("expanded %s from %d to %d partitions", t.name, view.Assigned, t.partitions), client.Expand(ctx, t.name, t.partitions))
		case view.Online < t.partitions:
			return fmt.Sprintf("topic %q: workers copy %d of %d partitions", t.name, view.Online, t.partitions), nil
		}
		if told == "" {
			done.Unchanged = append(done.Unchanged, fmt.Sprintf("%s with %d partitions", t.name, t.partitions))
		}
		return "", nil
	}
}

func registerBrooklin(ctx context.Context, c Config, log *slog.Logger) (Done, error) {
	client, err := replicators.NewBrooklinClient(c.URL)
	if err != nil {
		return Done{}, err
	}
	want, err := c.datastream()
	if err != nil {
		return Done{}, err
	}
	var done Done
	tell := func(sentence string, err error) (string, error) {
		if err == nil {
			done.Changed = append(done.Changed, sentence)
		}
		return fmt.Sprintf("datastream %q", want.Name), err
	}
	err = c.until(ctx, log, func(ctx context.Context) (string, error) {
		have, exists, err := client.Datastream(ctx, want.Name)
		switch {
		case err != nil:
			return "", err
		case !exists:
			err := client.Create(ctx, want)
			if replicators.Conflict(err) {
				// Another is as fast as we are, or it is not quite deleted yet. Look again.
				return fmt.Sprintf("datastream %q to show itself", want.Name), nil
			}
			return tell(fmt.Sprintf("created datastream %s: %s", want.Name, want.Source.ConnectionString), err)
		case have.Status == "DELETING":
			return fmt.Sprintf("datastream %q to be deleted", want.Name), nil
		case !have.Same(want):
			return tell(fmt.Sprintf("deleted datastream %s: it copied %s", want.Name, have.Source.ConnectionString), client.Delete(ctx, want.Name))
		case have.Status == "PAUSED" || have.Status == "STOPPED":
			return "", fmt.Errorf("datastream %q is %s: someone halted it: resume it (POST /datastream/%s?action=resume), or delete it and run this again", want.Name, have.Status, want.Name)
		case have.Status != "READY":
			return fmt.Sprintf("datastream %q, which is %s, to be READY", want.Name, have.Status), nil
		}
		if len(done.Changed) == 0 {
			done.Unchanged = append(done.Unchanged, fmt.Sprintf("datastream %s: %s", want.Name, want.Source.ConnectionString))
		}
		return "", nil
	})
	return done, err
}
