package topics_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func config(change func(*topics.Config), names ...string) topics.Config {
	var c topics.Config
	c.SetDefaults()
	c.Names = names
	if change != nil {
		change(&c)
	}
	return c
}

// wantError fails unless err holds every one of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestCreateAndDescribe(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(3)))
	c := config(func(c *topics.Config) {
		c.Partitions = 6
		c.Replicas = 3
		c.Retention = 5 * time.Minute
		c.MaxMessageBytes = 4_000_000
		c.MinInSyncReplicas = 2
		c.LogAppendTime = true
	}, "a", "b")
	if err := topics.Create(deadline(t), cl, c); err != nil {
		t.Fatal(err)
	}

	described, err := topics.Describe(deadline(t), cl, []string{"b", "a"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"b", "a"} {
		d := described[i]
		if d.Name != name || d.Partitions != 6 || d.Replicas != 3 || d.Leaderless != 0 || d.UnderReplicated != 0 || d.ID == "" {
			t.Errorf("described as %+v", d)
		}
		for key, want := range map[string]string{
			"retention.ms": "300000", "segment.ms": "60000", "max.message.bytes": "4000000",
			"min.insync.replicas": "2", "message.timestamp.type": "LogAppendTime",
		} {
			if d.Settings[key] != want {
				t.Errorf("topic %s: %s is %q, want %q", name, key, d.Settings[key], want)
			}
		}
	}
}

func TestCreateRefusesExistingAndMakesNothing(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(1), kfake.SeedTopics(4, "old")))
	err := topics.Create(deadline(t), cl, config(nil, "new", "old"))
	wantError(t, err, `"old" exists already`, "4 partitions")
	wantError(t, topics.Check(deadline(t), cl, []string{"new"}), `"new" does not exist`)
}

func TestReplicasByDefaultFollowTheBrokers(t *testing.T) {
	for brokers, want := range map[int]int{1: 1, 2: 2, 5: 3} {
		cl := client(t, cluster(t, kfake.NumBrokers(brokers)))
		if err := topics.Create(deadline(t), cl, config(nil, "a")); err != nil {
			t.Fatal(err)
		}
		described, err := topics.Describe(deadline(t), cl, []string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		if described[0].Replicas != want {
			t.Errorf("%d brokers: %d replicas, want %d", brokers, described[0].Replicas, want)
		}
	}
}

func TestTooFewBrokers(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(2)))
	err := topics.Create(deadline(t), cl, config(func(c *topics.Config) { c.Replicas = 3 }, "a"))
	wantError(t, err, "3 replicas", "2 brokers")
	err = topics.Create(deadline(t), cl, config(func(c *topics.Config) { c.MinInSyncReplicas = 3 }, "a"))
	wantError(t, err, "minimum of 3 in-sync replicas", "2 brokers")
}

func TestEnsure(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(3)))
	four := func(c *topics.Config) { c.Partitions, c.Replicas = 4, 2 }
	if err := topics.Create(deadline(t), cl, config(four, "old")); err != nil {
		t.Fatal(err)
	}

	got, err := topics.Ensure(deadline(t), cl, config(four, "old", "new"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Created, []string{"new"}) || !slices.Equal(got.Kept, []string{"old"}) || len(got.Differences) != 0 {
		t.Errorf("got %+v", got)
	}

	_, err = topics.Ensure(deadline(t), cl, config(func(c *topics.Config) { c.Partitions = 8 }, "old", "other"))
	wantError(t, err, `"old" has 4 partitions, not 8`, "topics apply")
	_, err = topics.Ensure(deadline(t), cl, config(func(c *topics.Config) { c.Partitions = 2 }, "old", "other"))
	wantError(t, err, `"old" has 4 partitions, not 2`, "cannot remove")
	_, err = topics.Ensure(deadline(t), cl, config(func(c *topics.Config) { c.Partitions, c.Replicas = 4, 3 }, "old", "other"))
	wantError(t, err, `"old" has 2 replicas, not 3`)
	wantError(t, topics.Check(deadline(t), cl, []string{"other"}), `"other" does not exist`)
}

func TestEnsureTellsOtherSettings(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(1)))
	if err := topics.Create(deadline(t), cl, config(func(c *topics.Config) { c.Retention = time.Minute }, "a")); err != nil {
		t.Fatal(err)
	}
	got, err := topics.Ensure(deadline(t), cl, config(func(c *topics.Config) { c.Retention = time.Hour; c.LogAppendTime = true }, "a"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(got.Differences, "\n")
	for _, want := range []string{"retention.ms 60000 (1m0s), not 3600000 (1h0m0s)", "message.timestamp.type CreateTime, not LogAppendTime"} {
		if !strings.Contains(all, want) {
			t.Errorf("differences %q do not say %q", all, want)
		}
	}
	if strings.Contains(all, "segment.ms") {
		t.Errorf("shorter segments are no difference: %q", all)
	}
}

// Ten producers start at once: each topic is made by one of them, and the
// others use it.
func TestEnsureAtTheSameTime(t *testing.T) {
	c := cluster(t, kfake.NumBrokers(3))
	names := []string{"a", "b", "c"}
	made := make([][]string, 10)
	ctx := deadline(t)
	var wg sync.WaitGroup
	for i := range made {
		cl := client(t, c)
		wg.Go(func() {
			got, err := topics.Ensure(ctx, cl, config(func(c *topics.Config) { c.Partitions = 20 }, names...))
			if err != nil {
				t.Error(err)
			}
			if len(got.Created)+len(got.Kept) != len(names) {
				t.Errorf("got %+v", got)
			}
			made[i] = got.Created
		})
	}
	wg.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(made...)))
	if !slices.Equal(all, names) {
		t.Errorf("created: %q, want each of %q once", all, names)
	}
}

// Another process has created the topic between our look and our request, and
// the broker that we ask does not know of it yet.
func TestEnsureAfterAnother(t *testing.T) {
	c := cluster(t, kfake.NumBrokers(1))
	c.ControlKey(kmsg.CreateTopics.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, asked := range req.(*kmsg.CreateTopicsRequest).Topics {
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode = asked.Topic, kerr.TopicAlreadyExists.Code
			resp.Topics = append(resp.Topics, one)
		}
		return resp, nil, true // this once
	})
	cl := client(t, c)
	if _, err := topics.Ensure(deadline(t), cl, config(nil, "a")); err != nil {
		t.Error(err)
	}
	if err := topics.Check(deadline(t), cl, []string{"a"}); err != nil {
		t.Error(err)
	}
}

func TestGrow(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(1), kfake.SeedTopics(4, "a"), kfake.SeedTopics(8, "b"), kfake.SeedTopics(9, "c")))
	if err := topics.Grow(deadline(t), cl, topics.Growth{Names: []string{"a", "b"}, Partitions: 8}); err != nil {
		t.Fatal(err)
	}
	described, err := topics.Describe(deadline(t), cl, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if described[0].Partitions != 8 || described[1].Partitions != 8 {
		t.Errorf("described as %+v", described)
	}

	wantError(t, topics.Grow(deadline(t), cl, topics.Growth{Names: []string{"c"}, Partitions: 8}), `"c" has 9 partitions, 8 were asked for: partitions cannot shrink`)
	wantError(t, topics.Grow(deadline(t), cl, topics.Growth{Names: []string{"gone"}, Partitions: 8}), `"gone" does not exist`)
	wantError(t, (&topics.Growth{Names: []string{"a", "a"}}).Validate(), "0 partitions", "named twice")
}

// What topics are to be is reached from whatever they are, and asking again
// changes nothing.
func TestApply(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(3), kfake.SeedTopics(4, "small"), kfake.SeedTopics(9, "large")))
	wanted := func(c *topics.Config) { c.Partitions, c.Retention, c.MinInSyncReplicas = 8, time.Hour, 1 }
	done, err := topics.Apply(deadline(t), cl, config(wanted, "small", "new"), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done.Created, []string{"new"}) || !slices.Equal(done.Grown, []string{"small"}) || len(done.Left) > 0 ||
		!slices.ContainsFunc(done.Changed, func(s string) bool {
			return strings.Contains(s, `"small": retention.ms`) && strings.Contains(s, "is now 3600000 (1h0m0s)")
		}) {
		t.Errorf("did %+v", done)
	}
	check := func(want int, names ...string) {
		t.Helper()
		described, err := topics.Describe(deadline(t), cl, names)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range described {
			if d.Partitions != want || d.Settings["retention.ms"] != "3600000" || d.Settings["min.insync.replicas"] != "1" {
				t.Errorf("described as %+v", d)
			}
		}
	}
	check(8, "small", "new")
	done, err = topics.Apply(deadline(t), cl, config(wanted, "small", "new"), true)
	if err != nil || len(done.Created)+len(done.Grown)+len(done.Changed)+len(done.Left) > 0 {
		t.Errorf("again: %+v, %v", done, err)
	}

	// Without growth the partitions stay, the rest is as asked.
	more := func(c *topics.Config) { wanted(c); c.Partitions = 16 }
	done, err = topics.Apply(deadline(t), cl, config(more, "small", "late"), false)
	if err != nil || !slices.Equal(done.Created, []string{"late"}) || len(done.Grown) > 0 {
		t.Errorf("without growth: %+v, %v", done, err)
	}
	check(8, "small")
	check(16, "late")

	for _, grow := range []bool{true, false} {
		_, err = topics.Apply(deadline(t), cl, config(wanted, "small", "large", "never"), grow)
		wantError(t, err, `"large" has 9 partitions, 8 were asked for: partitions cannot shrink`)
		if !topics.Refused(err) {
			t.Errorf("it would be tried again: %v", err)
		}
	}
	_, err = topics.Apply(deadline(t), cl, config(func(c *topics.Config) { wanted(c); c.Replicas = 2 }, "small", "never"), true)
	wantError(t, err, `"small" has 3 replicas, not 2`)
	wantError(t, topics.Check(deadline(t), cl, []string{"never"}), `"never" does not exist`)
	_, err = topics.Apply(deadline(t), cl, config(func(c *topics.Config) { c.Replicas = 4 }, "never"), true)
	wantError(t, err, "4 replicas", "3 brokers")
	if topics.Refused(err) {
		t.Errorf("brokers that are away would not be waited for: %v", err)
	}
}

func TestCheckNamesEveryMissingTopic(t *testing.T) {
	cl := client(t, cluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a")))
	if err := topics.Check(deadline(t), cl, []string{"a"}, topics.Read, topics.Write); err != nil {
		t.Error(err)
	}
	wantError(t, topics.Check(deadline(t), cl, []string{"x", "a", "y"}), `"x" does not exist`, `"y" does not exist`)
}

func TestNoPermission(t *testing.T) {
	acl := func(topic string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{
			Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral,
			Operation: op, Allow: true,
		}
	}
	c := cluster(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.SeedTopics(1, "seen", "hidden"),
		kfake.Superuser("PLAIN", "root", "root-secret"),
		kfake.User("PLAIN", "reader", "reader-secret", acl("seen", kmsg.ACLOperationRead), acl("new", kmsg.ACLOperationDescribe)),
	)
	cl := client(t, c, kgo.SASL(plain.Auth{User: "reader", Pass: "reader-secret"}.AsMechanism()))

	if err := topics.Check(deadline(t), cl, []string{"seen"}, topics.Read); err != nil {
		t.Error(err)
	}
	wantError(t, topics.Check(deadline(t), cl, []string{"seen"}, topics.Read, topics.Write), `no permission to write topic "seen"`, "WRITE")
	wantError(t, topics.Check(deadline(t), cl, []string{"hidden", "seen"}), `no permission to see topic "hidden"`, "DESCRIBE")
	wantError(t, topics.Create(deadline(t), cl, config(nil, "new")), `no permission to create topic "new"`, "CREATE")
	_, err := topics.Ensure(deadline(t), cl, config(nil, "new"))
	wantError(t, err, `no permission to create topic "new"`)
	_, err = topics.Apply(deadline(t), cl, config(nil, "new"), true)
	wantError(t, err, `no permission to create topic "new"`)
	if !topics.Refused(err) {
		t.Errorf("it would be tried again: %v", err)
	}
	wantError(t, topics.Grow(deadline(t), cl, topics.Growth{Names: []string{"seen"}, Partitions: 2}), `no permission to add partitions to topic "seen"`, "ALTER")

	// What may be seen is described, with word of what may not.
	described, err := topics.Describe(deadline(t), cl, []string{"seen"})
	if err != nil {
		t.Fatal(err)
	}
	if described[0].Partitions != 1 || !strings.Contains(described[0].SettingsError, "DESCRIBE_CONFIGS") {
		t.Errorf("described as %+v", described[0])
	}
}

func TestValidateReportsEveryMistake(t *testing.T) {
	c := topics.Config{
		Names: []string{"a b", "x.y", "x_y", "twice", "twice", strings.Repeat("n", 250)}, Partitions: 0, Replicas: -1,
		Retention: time.Millisecond, MaxMessageBytes: -1, MinInSyncReplicas: -1,
	}
	wantError(t, c.Validate(), `topic "a b"`, `"x.y" and "x_y"`, `"twice" is named twice`, "nnn", "0 partitions", "-1 replicas",
		"retention 1ms", "largest message", "in-sync")

	c = config(func(c *topics.Config) { c.Replicas, c.MinInSyncReplicas = 2, 3 }, "a")
	wantError(t, c.Validate(), "3 in-sync replicas", "2 replicas")
	c = config(nil)
	wantError(t, c.Validate(), "no topics")
	c = config(nil, "a.b", "a-b")
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults with two names: %v", err)
	}
}
