package lab

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// change is one thing that differs between what is and what is to be.
type change struct {
	what string // for people
	make func(context.Context) error
}

// Converge changes what runs until it is as next says: brokers and topics first, then partitions in the
// order that partitionGrowth names, the replicator, the load, and last the faults.
//
// A broker that is too many is just stopped, as a StatefulSet does it: its partitions are not moved.
// Other settings of brokers and topics reach them when they start again, or by a rolling restart where
// kafkaRestart has changed.
func (l *Lab) Converge(ctx context.Context, next scenario.Config) error {
	if l.auditor == nil {
		return fmt.Errorf("converge: nothing has been started")
	}
	was := l.config()
	if err := l.Check([]scenario.Config{was, next}); err != nil {
		return err
	}
	l.turnTo(next)
	err := l.change(ctx, was, next)
	if err != nil {
		l.turnTo(was) // so that the next Converge does again what may not have been done
	}
	return err
}

// change makes all that differs. What is so already is made again without harm.
func (l *Lab) change(ctx context.Context, was, next scenario.Config) error {
	for _, c := range l.changes(was, next) {
		if err := l.step(ctx, c.what, c.make); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
	}
	return l.strike(ctx, was, next)
}

// changes lists what has to be done.
func (l *Lab) changes(was, next scenario.Config) []change {
	var all []change
	add := func(differs bool, what string, make func(context.Context) error) {
		if differs {
			all = append(all, change{what, make})
		}
	}
	sides := []struct {
		c        *Cluster
		from, to scenario.Cluster
	}{{l.Source, was.Source.Cluster, next.Source.Cluster}, {l.Destination, was.Destination.Cluster, next.Destination.Cluster}}
	for _, s := range slices.Backward(sides) { // the replicator is not to find a topic that it would have to make
		c, from, to := s.c, s.from, s.to
		c.configure(to)
		add(from.Brokers != to.Brokers, fmt.Sprintf("%s brokers: %d -> %d", c.side, from.Brokers, to.Brokers),
			func(ctx context.Context) error { return c.resize(ctx, to.Brokers) })
		add(from.Retention != to.Retention || from.MinInsyncReplicas != to.MinInsyncReplicas,
			fmt.Sprintf("%s topics: retention %s, min.insync.replicas %d", c.side, to.Retention, to.MinInsyncReplicas),
			func(ctx context.Context) error { return c.applyTopics(ctx, from.Topics, 1, setTopics) })
		fresh := slices.DeleteFunc(slices.Clone(to.Topics), func(t string) bool { return slices.Contains(from.Topics, t) })
		add(len(fresh) > 0, fmt.Sprintf("%s topics: %s added", c.side, strings.Join(fresh, ", ")),
			func(ctx context.Context) error { return c.applyTopics(ctx, fresh, to.Partitions, makeTopics) })
		add(from.KafkaRestart != to.KafkaRestart && to.KafkaRestart > 0, fmt.Sprintf("%s brokers have restarted, one after another", c.side),
			func(ctx context.Context) error { return c.roll(ctx, both(from.Topics, to.Topics)) })
	}
	grow := func(i int) {
		s := sides[i]
		add(s.from.Partitions != s.to.Partitions, fmt.Sprintf("%s partitions: %d -> %d", s.c.side, s.from.Partitions, s.to.Partitions),
			func(ctx context.Context) error { return s.c.applyTopics(ctx, s.to.Topics, s.to.Partitions, growTopics) })
	}
	switch next.Destination.PartitionGrowth {
	case scenario.GrowthDestinationFirst:
		grow(1)
		grow(0)
	case scenario.GrowthCure: // and the replicator is told below, where it has to be
		grow(0)
		grow(1)
	default: // the destination's are the replicator's to grow
		grow(0)
	}
	from, to := was.Destination, next.Destination
	add(!maps.Equal(from.ReplicatorConfig, to.ReplicatorConfig), "the replicator has restarted with other settings", l.restartNodes)
	if l.replicator != nil {
		add(l.controllers(from) != l.controllers(to), fmt.Sprintf("controllers: %d -> %d", from.Controllers, to.Controllers),
			func(ctx context.Context) error { return l.resizeNodes(ctx, controllerRole, to.Controllers) })
		add(from.Workers != to.Workers, fmt.Sprintf("workers: %d -> %d", from.Workers, to.Workers),
			func(ctx context.Context) error { return l.resizeNodes(ctx, workerRole, to.Workers) })
		if r, ok := l.replicator.(registrar); ok {
			add(r.concerns(was, next), l.replicator.title()+" has been told what to copy", r.register)
		}
	}
	add(from.Consumers != to.Consumers, fmt.Sprintf("consumers: %d -> %d", from.Consumers, to.Consumers),
		func(ctx context.Context) error {
			// Another number is another division of the partitions, so that all begin again.
			if err := l.stopTools(ctx, l.consumers); err != nil {
				return err
			}
			return l.startConsumers(ctx, to.Consumers)
		})
	load := was.Source.Throughput != next.Source.Throughput || was.Source.MessageSize != next.Source.MessageSize ||
		was.Source.Producers != next.Source.Producers || !slices.Equal(was.Source.Topics, next.Source.Topics) || !slices.Equal(from.Topics, to.Topics)
	add(load, fmt.Sprintf("load: %d producer(s) at %s in each of %s, messages of %s", next.Source.Producers, next.Source.Throughput, strings.Join(next.Source.Topics, ", "), next.Source.MessageSize),
		func(ctx context.Context) error {
			if err := l.writeSettings(next); err != nil {
				return err
			}
			return l.setProducers(ctx, next.Source)
		})
	return all
}

func both(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// strike begins those faults that have changed. One that still lasts ends first, as it does when a stack
// is updated.
func (l *Lab) strike(ctx context.Context, was, next scenario.Config) error {
	for _, s := range []struct {
		side     string
		from, to scenario.Fault
	}{{Source, was.Source.Fault, next.Source.Fault}, {Destination, was.Destination.Fault, next.Destination.Fault}} {
		if reflect.DeepEqual(s.from, s.to) {
			continue
		}
		if err := l.healSide(ctx, s.side); err != nil {
			return err
		}
		if s.to.Kind == "" {
			continue
		}
		if err := l.begin(ctx, s.side, s.to); err != nil {
			return fmt.Errorf("fault %s on the %s side: %w", s.to.Kind, s.side, err)
		}
	}
	return nil
}
