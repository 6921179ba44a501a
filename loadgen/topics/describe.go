package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// Description is a topic as the cluster has it.
type Description struct {
	Name       string `json:"name"`
	ID         string `json:"id"` // empty where the cluster has no topic ids (before Kafka 2.8)
	Partitions int    `json:"partitions"`
	// Replicas is the smallest number of replicas any partition has.
	Replicas int `json:"replicas"`
	// Leaderless is how many partitions have no leader now, and
	// UnderReplicated how many have a replica that is not in sync.
	Leaderless      int `json:"leaderless"`
	UnderReplicated int `json:"underReplicated"`
	// Settings has the topic's configuration that matters to a test, by Kafka's
	// names. It is empty if this user may not read it; SettingsError says so.
	Settings      map[string]string `json:"settings,omitempty"`
	SettingsError string            `json:"settingsError,omitempty"`
}

// settingNames are the settings described, in the order shown to people.
var settingNames = []string{
	"retention.ms", "segment.ms", "max.message.bytes", "min.insync.replicas", "message.timestamp.type", "cleanup.policy",
}

// Setting is one setting of a topic.
type Setting struct{ Name, Value string }

// SortedSettings returns the settings in a fixed order.
func (d Description) SortedSettings() []Setting {
	var sorted []Setting
	for _, name := range settingNames {
		if value, ok := d.Settings[name]; ok {
			sorted = append(sorted, Setting{name, value})
		}
	}
	return sorted
}

// Describe returns the topics in the order named. A missing topic, or one that
// this user may not see, is an error.
func Describe(ctx context.Context, client *kgo.Client, names []string) ([]Description, error) {
	if err := ValidateNames(names); err != nil {
		return nil, err
	}
	existing, err := require(ctx, client, names)
	if err != nil {
		return nil, err
	}
	described := make([]Description, 0, len(names))
	for _, name := range names {
		t := existing[name]
		d := Description{Name: name, Partitions: len(t.Partitions), Replicas: replicas(t)}
		if id := kadm.TopicID(t.TopicID); id != (kadm.TopicID{}) {
			d.ID = id.String()
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				d.Leaderless++
			}
			if len(p.ISR) < len(p.Replicas) {
				d.UnderReplicated++
			}
		}
		d.Settings, err = readSettings(ctx, client, name)
		switch {
		case errors.Is(err, errSettingsDenied):
			d.SettingsError = err.Error()
		case err != nil:
			return nil, err
		}
		described = append(described, d)
	}
	return described, nil
}

var errSettingsDenied = errors.New("no permission to read the settings: grant this user DESCRIBE_CONFIGS")

func readSettings(ctx context.Context, client *kgo.Client, name string) (map[string]string, error) {
	found, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, name)
	if err == nil {
		_, err = found.On(name, func(c *kadm.ResourceConfig) error { return c.Err })
	}
	if connect.Denied(err) {
		return nil, fmt.Errorf("topic %q: %w: %w", name, errSettingsDenied, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings of topic %q: %w", name, err)
	}
	settings := map[string]string{}
	for _, c := range found[0].Configs {
		if c.Value != nil && slices.Contains(settingNames, c.Key) {
			settings[c.Key] = *c.Value
		}
	}
	return settings, nil
}

// difference is a setting of a topic that is not as asked for.
type difference struct{ key, have, want string }

// differences tells which settings of an existing topic are not what c asks for.
func (c *Config) differences(ctx context.Context, client *kgo.Client, name string) ([]difference, error) {
	settings, err := readSettings(ctx, client, name)
	if err != nil {
		return nil, err
	}
	var found []difference
	asked := c.settings()
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		want, have := *asked[key], settings[key]
		if key == "segment.ms" && atMost(have, want) {
			continue // shorter segments follow the retention even more closely
		}
		if have != want {
			found = append(found, difference{key, have, want})
		}
	}
	return found, nil
}

// tell says in words what differs in existing topics.
func (c *Config) tell(ctx context.Context, client *kgo.Client, names []string) ([]string, error) {
	var told []string
	for _, name := range names {
		found, err := c.differences(ctx, client, name)
		if errors.Is(err, errSettingsDenied) {
			told = append(told, err.Error())
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			told = append(told, fmt.Sprintf("topic %q exists and has %s %s, not %s", name, d.key, readable(d.key, d.have), readable(d.key, d.want)))
		}
	}
	return told, nil
}

func atMost(have, want string) bool {
	h, herr := strconv.ParseInt(have, 10, 64)
	w, werr := strconv.ParseInt(want, 10, 64)
	return herr == nil && werr == nil && h <= w
}

func readable(key, value string) string {
	if value == "" {
		return "unset"
	}
	if ms, err := strconv.ParseInt(value, 10, 64); err == nil && ms > 0 && (key == "retention.ms" || key == "segment.ms") {
		return fmt.Sprintf("%s (%s)", value, time.Duration(ms)*time.Millisecond)
	}
	return value
}

// replicas is the smallest number of replicas any partition of t has.
func replicas(t kmsg.MetadataResponseTopic) int {
	least := 0
	for _, p := range t.Partitions {
		if n := len(p.Replicas); least == 0 || n < least {
			least = n
		}
	}
	return least
}

func shape(t kmsg.MetadataResponseTopic) string {
	return fmt.Sprintf("%d partitions and %d replicas", len(t.Partitions), replicas(t))
}
