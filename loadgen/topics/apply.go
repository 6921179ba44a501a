package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// Applied says what Apply did; a topic that was as asked is in none of them.
type Applied struct {
	Created, Grown []string
	// Changed are settings that existing topics had otherwise, and Left those
	// that could not be asked for; a sentence each.
	Changed, Left []string
}

// Apply brings topics to what c, which must be valid, says: it makes those that
// do not exist, adds partitions to those that have fewer, and changes the
// settings that c names and that are otherwise. It returns when all partitions
// have leaders. Without grow the partitions of topics that exist are left as
// they are. A topic with more partitions than asked for, or with other replicas
// (any number will do for 0 replicas), is refused, and then no topic is made or
// changed.
//
// Apply again finishes what was cut short. See Refused for whether that helps.
func Apply(ctx context.Context, client *kgo.Client, c Config, grow bool) (Applied, error) {
	var done Applied
	created, existing, err := ensure(ctx, client, c, func(name string, have int) error {
		if have > c.Partitions {
			return shrink(name, have, c.Partitions)
		}
		return nil
	})
	done.Created = created
	if err != nil {
		return done, err
	}
	if grow {
		if done.Grown, err = addPartitions(ctx, client, existing, c.Partitions); err != nil {
			return done, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(existing)) {
		if err := c.applySettings(ctx, client, name, &done); err != nil {
			return done, err
		}
	}
	least := c.Partitions
	if !grow {
		if err := await(ctx, client, created, c.Partitions); err != nil {
			return done, err
		}
		least = 1
	}
	return done, await(ctx, client, c.Names, least)
}

// applySettings changes what is otherwise in an existing topic.
func (c *Config) applySettings(ctx context.Context, client *kgo.Client, name string, done *Applied) error {
	found, err := c.differences(ctx, client, name)
	if errors.Is(err, errSettingsDenied) {
		done.Left = append(done.Left, err.Error())
		return nil
	}
	if err != nil || len(found) == 0 {
		return err
	}
	var changes []kadm.AlterConfig
	for _, d := range found {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: d.key, Value: &d.want})
	}
	answers, err := kadm.NewClient(client).AlterTopicConfigs(ctx, changes, name)
	if err != nil {
		return fmt.Errorf("change the settings of topic %q: %w", name, err)
	}
	answer, err := answers.On(name, nil)
	if err != nil {
		return fmt.Errorf("change the settings of topic %q: %w", name, err)
	}
	switch {
	case connect.Denied(answer.Err):
		return refusal{fmt.Errorf("no permission to change the settings of topic %q: grant this user ALTER_CONFIGS on it: %w", name, answer.Err)}
	case answer.Err != nil:
		return judge(fmt.Errorf("change the settings of topic %q: %w", name, said(answer.Err, answer.ErrMessage)))
	}
	for _, d := range found {
		done.Changed = append(done.Changed, fmt.Sprintf("topic %q: %s %s is now %s", name, d.key, readable(d.key, d.have), readable(d.key, d.want)))
	}
	return nil
}
