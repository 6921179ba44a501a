package selftest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/selftest"
)

var quiet = slog.New(slog.DiscardHandler)

func newCluster(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

// assign gives partitions the leaders that are asked for when a topic is made,
// as Kafka does and the embedded cluster by itself does not.
func assign(t *testing.T, c *kfake.Cluster) {
	asked := make(chan *kmsg.CreateTopicsRequest, 10)
	c.ControlKey(kmsg.CreateTopics.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- req.(*kmsg.CreateTopicsRequest)
		return nil, nil, false
	})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case req := <-asked:
				for _, topic := range req.Topics {
					for _, a := range topic.ReplicaAssignment {
						for c.MoveTopicPartition(topic.Topic, a.Partition, a.Replicas[0]) != nil && ctx.Err() == nil {
							time.Sleep(time.Millisecond) // it is not made yet
						}
					}
				}
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func topicsOf(t *testing.T, opts []kgo.Opt) []string {
	t.Helper()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found, err := kadm.NewClient(client).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found.Names()
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestKafka(t *testing.T) {
	left := selftest.BrokersTopic + fmt.Sprint(time.Now().Add(-2*time.Hour).Unix())
	running := selftest.BrokersTopic + fmt.Sprint(time.Now().Add(-time.Minute).Unix())
	c, opts := newCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(1, left, running, "load"))
	assign(t, c)
	var produced [3]bool
	c.ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		produced[c.CurrentNode()] = true
		return nil, nil, false
	})
	var out bytes.Buffer
	if err := selftest.Kafka(within(t, 20*time.Second), opts, 3, &out, quiet); err != nil {
		t.Fatal(err)
	}
	for i, address := range c.ListenAddrs() {
		if want := fmt.Sprintf("broker %d (%s) took a record", i, address); !strings.Contains(out.String(), want) {
			t.Errorf("did not say %q, but\n%s", want, &out)
		}
	}
	if produced != [3]bool{true, true, true} {
		t.Errorf("brokers that took a record: %v", produced)
	}
	if names := topicsOf(t, opts); !slices.Equal(names, []string{running, "load"}) {
		t.Errorf("topics afterwards: %q", names)
	}
}

func TestKafkaNamesTheBrokerThatDoesNotAnswer(t *testing.T) {
	c, opts := newCluster(t, kfake.NumBrokers(3))
	assign(t, c)
	c.ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if c.CurrentNode() == 1 {
			return nil, errors.New("dropped"), true
		}
		return nil, nil, false
	})
	var out bytes.Buffer
	err := selftest.Kafka(within(t, 3*time.Second), opts, 3, &out, quiet)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("broker 1 (%s) took no record", c.ListenAddrs()[1])) || strings.Contains(err.Error(), "broker 0") {
		t.Errorf("error %v", err)
	}
	if got := out.String(); !strings.Contains(got, "broker 0") || !strings.Contains(got, "broker 2") || strings.Contains(got, "broker 1") {
		t.Errorf("said\n%s", got)
	}
	if names := topicsOf(t, opts); len(names) > 0 {
		t.Errorf("topics afterwards: %q", names)
	}
}

// Too few brokers, and too many, which is a scale-down that has not ended: it
// waits for the right number.
func TestKafkaWaitsForTheNumber(t *testing.T) {
	c, opts := newCluster(t, kfake.NumBrokers(2))
	assign(t, c)
	for _, want := range []int{1, 3} {
		err := selftest.Kafka(within(t, time.Second), opts, want, io.Discard, quiet)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("2 brokers are registered, not %d (their ids: 0, 1)", want)) {
			t.Errorf("%d wanted: error %v", want, err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- selftest.Kafka(within(t, 20*time.Second), opts, 3, io.Discard, quiet) }()
	if _, _, err := c.AddNode(2, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// replicate runs a mirror of the topic between the clusters until the test ends.
func replicate(t *testing.T, source, destination []kgo.Opt, faults ...mirror.FaultConfig) {
	t.Helper()
	var cfg mirror.Config
	cfg.SetDefaults()
	cfg.Topics, cfg.Faults = []string{selftest.ReplicatorTopic}, faults
	m, err := mirror.New(cfg, mirror.Deps{Source: source, Destination: destination, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mirror: %v", err)
		}
	})
}

func TestReplicator(t *testing.T) {
	_, source := newCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(3, selftest.ReplicatorTopic))
	_, destination := newCluster(t, kfake.NumBrokers(1))
	replicate(t, source, destination)
	for range 2 { // the second finds the records of the first
		var out bytes.Buffer
		if err := selftest.Replicator(within(t, 30*time.Second), source, destination, selftest.ReplicatorTopic, &out, quiet); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "a record crossed in ") {
			t.Errorf("said %s", &out)
		}
	}
}

// What was written before the replicator began is lost on it, and a later record
// crosses.
func TestReplicatorThatBeginsAtTheEnd(t *testing.T) {
	_, source := newCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, selftest.ReplicatorTopic))
	_, destination := newCluster(t, kfake.NumBrokers(1))
	first := mirror.FaultConfig{Kind: mirror.Drop}
	first.SetDefaults()
	first.After = 1
	replicate(t, source, destination, first)
	var out bytes.Buffer
	if err := selftest.Replicator(within(t, 30*time.Second), source, destination, selftest.ReplicatorTopic, &out, quiet); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "the first of 2 was written") {
		t.Errorf("said %s", &out)
	}
}

func TestReplicatorThatDoesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		source, destination []kfake.Opt
		want                []string
	}{
		"no topic at the source":      {nil, nil, []string{"source:", `"kmt-selftest" does not exist`}},
		"no topic at the destination": {[]kfake.Opt{kfake.SeedTopics(1, selftest.ReplicatorTopic)}, nil, []string{"none of 1 records", "does not exist there", "its list of topics"}},
		"nothing": {
			[]kfake.Opt{kfake.SeedTopics(1, selftest.ReplicatorTopic)},
			[]kfake.Opt{kfake.SeedTopics(1, selftest.ReplicatorTopic)},
			[]string{"none of 1 records", "there and empty", "replicator's log"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, source := newCluster(t, append(test.source, kfake.NumBrokers(1))...)
			_, destination := newCluster(t, append(test.destination, kfake.NumBrokers(1))...)
			err := selftest.Replicator(within(t, 1500*time.Millisecond), source, destination, selftest.ReplicatorTopic, io.Discard, quiet)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}
