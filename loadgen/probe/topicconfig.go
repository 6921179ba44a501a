package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// drifting are the settings that are changed at the source, with the values
// before and after.
func drifting() []struct{ name, before, after string } {
	return []struct{ name, before, after string }{
		{"retention.ms", "86400000", "172800000"},
		{"max.message.bytes", "1000000", "2000000"},
		{"cleanup.policy", "delete", "compact"},
	}
}

const (
	removed        = "retention.ms removed"
	checkUnchanged = "unchanged"
)

// topicConfig changes settings of a topic at the source.
func topicConfig() kind {
	k := kind{
		name:     TopicConfig,
		about:    "settings of a topic that change at the source",
		settings: map[string]string{},
		run:      (*run).runTopicConfig,
	}
	for _, d := range drifting() {
		k.settings[d.name] = d.before
		k.checks = append(k.checks, check{name: d.name, about: "a change at the source reaches the destination, from " + d.before + " to " + d.after})
	}
	k.checks = append(k.checks,
		check{name: removed, about: "a setting that the source gives up goes from the destination too"},
		check{name: checkUnchanged, about: "what did not change at the source is the same on both sides", measured: true},
	)
	return k
}

// describe returns the topic's settings, and which of them were set for it.
func (r *run) describe(ctx context.Context, admin *kadm.Client) (values map[string]string, own map[string]bool, err error) {
	found, err := admin.DescribeTopicConfigs(ctx, r.cfg.Topic)
	if err == nil {
		_, err = found.On(r.cfg.Topic, func(c *kadm.ResourceConfig) error { return c.Err })
	}
	if connect.Denied(err) {
		return nil, nil, fmt.Errorf("no permission to read the settings of topic %q: grant this user DESCRIBE_CONFIGS on it: %w", r.cfg.Topic, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the settings of topic %q: %w", r.cfg.Topic, err)
	}
	values, own = map[string]string{}, map[string]bool{}
	for _, c := range found[0].Configs {
		if c.Value != nil {
			values[c.Key] = *c.Value
			own[c.Key] = c.Source == dynamicTopicConfig
		}
	}
	return values, own, nil
}

// dynamicTopicConfig is Kafka's word for a setting that the topic has itself.
const dynamicTopicConfig = 1

// alter changes settings at the source.
func (r *run) alter(ctx context.Context, changes ...kadm.AlterConfig) error {
	answers, err := kadm.NewClient(r.source).AlterTopicConfigs(ctx, changes, r.cfg.Topic)
	if err == nil {
		var answer kadm.AlterConfigsResponse
		if answer, err = answers.On(r.cfg.Topic, nil); err == nil {
			err = answer.Err
		}
	}
	if connect.Denied(err) {
		return fmt.Errorf("no permission to change the settings of topic %q at the source: grant this user ALTER_CONFIGS on it: %w", r.cfg.Topic, err)
	}
	if err != nil {
		return fmt.Errorf("change the settings of topic %q at the source: %w", r.cfg.Topic, err)
	}
	return nil
}

func (r *run) runTopicConfig(ctx context.Context) error {
	// A replicator may only look at topics that it copies something of.
	if err := r.writeMarks(ctx, 1); err != nil {
		return err
	}
	destination := r.tail(r.destination, false)
	complete, err := r.arrive(ctx, destination, 1, int(r.partitions))
	if err != nil {
		return err
	}
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	r.report(source, destination, complete)
	for p, came := range complete {
		if !came {
			r.note("the replicator did not even bring the record of partition %d: it does not copy this topic, or has stopped", p)
		}
	}

	admin := kadm.NewClient(r.destination)
	var changes []kadm.AlterConfig
	want := map[string]string{}
	for _, d := range drifting() {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: d.name, Value: &d.after})
		want[d.name] = d.after
	}
	if err := r.alter(ctx, changes...); err != nil {
		return err
	}
	left, have, err := r.follow(ctx, admin, want)
	if err != nil {
		return err
	}
	for _, d := range drifting() {
		r.compared(d.name, 1)
		if _, stays := left[d.name]; stays {
			r.found(Finding{Check: d.name, Word: "drift", Field: d.name, Source: d.after, Destination: have[d.name], Detail: fmt.Sprintf("it did not follow, for %s without any change", r.cfg.Idle)})
		}
	}

	if _, stays := left["retention.ms"]; stays {
		r.unknown(removed, "changes of this setting do not follow at all")
	} else {
		if err := r.alter(ctx, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
			return err
		}
		if err := r.followRemoval(ctx, admin); err != nil {
			return err
		}
	}
	return r.others(ctx, admin)
}

// follow waits until the destination has the values that are wanted, and returns
// those that it has not come to have.
func (r *run) follow(ctx context.Context, admin *kadm.Client, want map[string]string) (left, have map[string]string, err error) {
	left = maps.Clone(want)
	started := time.Now()
	var last error
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		values, _, err := r.describe(ctx, admin)
		if err != nil {
			last = err
			return false, false
		}
		moved = have != nil && !maps.Equal(values, have)
		have, last = values, nil
		for _, name := range slices.Sorted(maps.Keys(left)) {
			if have[name] == want[name] {
				delete(left, name)
				r.measure(name+" followed after", time.Since(started).Seconds(), "s", "from the change at the source")
			}
		}
		return len(left) == 0, moved
	})
	if have == nil || err != nil && !errors.Is(err, errIdle) {
		return nil, nil, fmt.Errorf("destination: %w", errors.Join(err, last))
	}
	return left, have, nil
}

// followRemoval waits until the destination's topic has no retention of its own.
func (r *run) followRemoval(ctx context.Context, admin *kadm.Client) error {
	started := time.Now()
	var have string
	var last error
	err := r.until(ctx, func(ctx context.Context) (done, moved bool) {
		values, own, err := r.describe(ctx, admin)
		if err != nil {
			last = err
			return false, false
		}
		moved = have != "" && have != values["retention.ms"]
		have, last = values["retention.ms"], nil
		return !own["retention.ms"], moved
	})
	r.compared(removed, 1)
	switch {
	case err == nil:
		r.measure("retention.ms gone after", time.Since(started).Seconds(), "s", "from its removal at the source")
	case errors.Is(err, errIdle) && last == nil:
		r.found(Finding{Check: removed, Word: "drift", Field: "retention.ms", Source: "unset", Destination: have, Detail: fmt.Sprintf("it stays, for %s without any change", r.cfg.Idle)})
	default:
		return fmt.Errorf("destination: %w", errors.Join(err, last))
	}
	return nil
}

// others compares the settings that were not touched.
func (r *run) others(ctx context.Context, destination *kadm.Client) error {
	bounded, cancel := context.WithTimeout(ctx, round)
	defer cancel()
	s, _, err := r.describe(bounded, kadm.NewClient(r.source))
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	d, _, err := r.describe(bounded, destination)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	for _, c := range drifting() {
		delete(s, c.name)
		delete(d, c.name)
	}
	all := maps.Clone(s)
	maps.Copy(all, d)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r.compared(checkUnchanged, 1)
		sv, inS := s[name]
		dv, inD := d[name]
		if sv == dv && inS == inD {
			continue
		}
		f := Finding{Check: checkUnchanged, Word: "drift", Field: name, Source: sv, Destination: dv}
		if !inS {
			f.Source = "unknown there"
		}
		if !inD {
			f.Destination = "unknown there"
		}
		r.found(f)
	}
	return nil
}
