package lab

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// What fits on one machine.
const (
	mostBrokers = 30
	mostWorkers = 30
	mostTools   = 100
)

// Check reports every mistake of a scenario's baseline and of what its steps make of it, each once, and
// what the lab has not the means for, which wraps scenario.ErrCannotPlay. Nothing is started.
//
// Some of a Config is about nodes of its own for everything, which the lab has not: it takes no notice of
// nodes, and has one ZooKeeper for each cluster and Java heaps of its own sizes.
func (l *Lab) Check(configs []scenario.Config) error {
	var mistakes, cannot []error
	said := map[string]bool{}
	for i, c := range configs {
		c.Source.Nodes, c.Destination.Nodes = 0, 0
		found := []error{c.Validate(), l.fits(c)}
		if i > 0 {
			found = append(found, follows(configs[i-1], c))
			if l.cfg.existing() {
				found = append(found, untouched(configs[i-1], c))
			}
		}
		for _, err := range flat(errors.Join(found...)) {
			switch {
			case said[err.Error()]:
			case errors.Is(err, scenario.ErrCannotPlay):
				cannot = append(cannot, err)
			default:
				mistakes = append(mistakes, err)
			}
			said[err.Error()] = true
		}
	}
	for _, c := range configs {
		l.slowLater(Source, c.Source.Fault)
		l.slowLater(Destination, c.Destination.Fault)
		l.clocks[Source] = l.clocks[Source] || c.Source.Fault.Kind == scenario.ClockError
		l.clocks[Destination] = l.clocks[Destination] || c.Destination.Fault.Kind == scenario.ClockError
	}
	if len(mistakes) > 0 {
		return errors.Join(mistakes...) // what is wrong is wrong wherever it is played
	}
	return errors.Join(cannot...)
}

// slowLater notes whose disk must be one that can be slowed down: a broker keeps the disk that it has
// begun with.
func (l *Lab) slowLater(side string, f scenario.Fault) {
	if f.Kind != slowDisk {
		return
	}
	for _, v := range f.Victims {
		l.slow[diskOf{side, v}] = true
	}
}

const slowDisk = "broker-slow-disk"

type diskOf struct {
	side   string
	broker int
}

// flat takes joined errors apart.
func flat(err error) []error {
	if err == nil {
		return nil
	}
	if joined, many := err.(interface{ Unwrap() []error }); many && errors.Join(joined.Unwrap()...).Error() == err.Error() {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, flat(one)...)
		}
		return all
	}
	return []error{err}
}

// fits reports what of a Config the lab cannot be.
func (l *Lab) fits(c scenario.Config) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	cannot := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{scenario.ErrCannotPlay}, args...)...))
	}
	for _, s := range []struct {
		side string
		c    scenario.Cluster
	}{{Source, c.Source.Cluster}, {Destination, c.Destination.Cluster}} {
		if s.c.KafkaMode != scenario.ZooKeeper {
			cannot("%s: kafkaMode: %q: the lab runs Kafka with ZooKeeper only", s.side, s.c.KafkaMode)
		}
		if s.c.Brokers > mostBrokers {
			cannot("%s: brokers: %d: the lab has room for %d", s.side, s.c.Brokers, mostBrokers)
		}
		if err := settings.CheckNames(s.c.Topics); err != nil {
			refuse("%s: %w", s.side, err)
		}
		errs = append(errs, l.playable(s.side, s.c.Fault))
	}
	d := c.Destination
	if r := l.newReplicator(d.Replicator); r != nil {
		if d.Workers > mostWorkers {
			cannot("workers: %d: the lab has room for %d", d.Workers, mostWorkers)
		}
		errs = append(errs, r.check(c))
	}
	if c.Source.Producers > mostTools || d.Consumers > mostTools {
		cannot("producers %d, consumers %d: the lab has room for %d each", c.Source.Producers, d.Consumers, mostTools)
	}
	for _, e := range d.Expectations {
		if _, err := verdict.ParseExpectation(e); err != nil {
			refuse("expectations: %w", err)
		}
	}
	return errors.Join(errs...)
}

// playable reports whether the lab has the means for a fault.
func (l *Lab) playable(side string, f scenario.Fault) error {
	kind, known := scenario.FaultKinds()[f.Kind]
	if !known {
		return nil // none, or one that is reported as unknown
	}
	if kind.Target == scenario.TargetClock {
		return nil
	}
	if l.cfg.existing() && kind.Target != scenario.TargetWorker {
		return fmt.Errorf("%s: fault.kind: %s: %w: the lab does not run these clusters: break them by hand, and tell it with loadgen mark", side, f.Kind, scenario.ErrCannotPlay)
	}
	if kind.Target == scenario.TargetRegion && strings.HasSuffix(f.Kind, "-outage") {
		return nil
	}
	switch _, what, _ := strings.Cut(f.Kind, "-"); what {
	case "kill", "outage", "replace", "pause":
		return nil
	case "slow-disk":
		if err := l.Provides(scenario.FeatureSlowDisk); err != nil {
			return fmt.Errorf("%s: fault.kind: %w", side, err)
		}
		return nil
	case "loss", "delay", "partition":
		switch {
		case l.cfg.Ocean != OceanTUN && what == "loss":
			return fmt.Errorf("%s: fault.kind: %s: %w", side, f.Kind, errNoPackets)
		case l.cfg.Ocean == OceanOff:
			return fmt.Errorf("%s: fault.kind: %s: %w", side, f.Kind, errNoOcean)
		case l.cfg.Ocean == OceanProxy && kind.Target == scenario.TargetWorker:
			return fmt.Errorf("%s: fault.kind: %s: %w: TCP proxies stand before brokers only: run the lab as root on Linux", side, f.Kind, scenario.ErrCannotPlay)
		}
		return nil
	}
	return fmt.Errorf("%s: fault.kind: %s: %w by the lab", side, f.Kind, scenario.ErrCannotPlay)
}

// follows reports what cannot become of what runs.
func follows(from, to scenario.Config) error {
	var errs []error
	fixed := func(key string, was, is any) {
		if !reflect.DeepEqual(was, is) {
			errs = append(errs, fmt.Errorf("%s: %v, and it is %v: it cannot change while the test runs", key, is, was))
		}
	}
	for _, s := range []struct {
		side     string
		from, to scenario.Cluster
	}{{Source, from.Source.Cluster, to.Source.Cluster}, {Destination, from.Destination.Cluster, to.Destination.Cluster}} {
		for _, err := range flat(scenario.ValidateChange(s.from, s.to, from.Secure, to.Secure)) {
			errs = append(errs, fmt.Errorf("%s: %w", s.side, err))
		}
	}
	fixed("testId", from.TestID, to.TestID)
	fixed("topicPattern", from.TopicPattern, to.TopicPattern)
	fixed("compressibility", from.Source.Compressibility, to.Source.Compressibility)
	fixed("useMessageHeaders", from.Source.UseMessageHeaders, to.Source.UseMessageHeaders)
	fixed("replicator", from.Destination.Replicator, to.Destination.Replicator)
	if !slices.Equal(from.Destination.Expectations, to.Destination.Expectations) {
		fixed("expectations", from.Destination.Expectations, to.Destination.Expectations)
	}
	return errors.Join(errs...)
}

// untouched reports what would change clusters that the lab does not run.
func untouched(from, to scenario.Config) error {
	var errs []error
	for _, s := range []struct {
		side     string
		from, to scenario.Cluster
	}{{Source, from.Source.Cluster, to.Source.Cluster}, {Destination, from.Destination.Cluster, to.Destination.Cluster}} {
		for key, same := range map[string]bool{
			"brokers": s.from.Brokers == s.to.Brokers, "kafkaConfig": maps.Equal(s.from.KafkaConfig, s.to.KafkaConfig), "kafkaRestart": s.from.KafkaRestart == s.to.KafkaRestart,
		} {
			if !same {
				errs = append(errs, fmt.Errorf("%s: %s: %w: the lab does not run these clusters: change it by hand, and tell it with loadgen mark", s.side, key, scenario.ErrCannotPlay))
			}
		}
	}
	return errors.Join(errs...)
}
