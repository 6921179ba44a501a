package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
)

// BrokersTopic begins the names of the topics that Kafka makes and removes. The
// rest of a name is when it was made, since a topic whose broker is gone for
// good cannot always be removed, and must not be in the way of the next one.
// No replicator is to copy them.
const BrokersTopic = "kmt-selftest-brokers-"

const (
	// abandoned is the age from which on a topic is one that a self-test left
	// behind.
	abandoned = time.Hour
	// every is how often the cluster is asked again.
	every = 500 * time.Millisecond
	// tidy bounds the removal of the topic.
	tidy = 30 * time.Second
)

// Kafka waits until exactly so many brokers are registered, and then has each of
// them lead a partition of a topic of its own, take a record, and give it back.
// It tells out of each broker. The error says which did not answer; ctx, which
// should have a deadline, bounds it all.
func Kafka(ctx context.Context, opts []kgo.Opt, brokers int, out io.Writer, log *slog.Logger) error {
	client, err := kgo.NewClient(append(slices.Clone(opts),
		kgo.WithLogger(connect.Logger(log)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite(), // else the client does not give up a record that may have been written
		kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100*time.Millisecond), // a fresh topic is found soon
	)...)
	if err != nil {
		return fmt.Errorf("Kafka client options: %w", err)
	}
	defer client.Close()
	found, err := registered(ctx, client, brokers)
	if err != nil {
		return err
	}
	topic := BrokersTopic + strconv.FormatInt(time.Now().Unix(), 10)
	if err := ownPartitions(ctx, client, topic, found); err != nil {
		return err
	}
	defer sweep(ctx, client, topic, log)

	type result struct {
		broker kmsg.MetadataResponseBroker
		took   time.Duration
		err    error
	}
	results := make(chan result)
	for i, b := range found {
		go func() {
			started := time.Now()
			err := roundTrip(ctx, client, topic, int32(i), b, opts)
			results <- result{b, time.Since(started), err}
		}()
	}
	var errs []error
	for range found {
		r := <-results
		if errs = append(errs, r.err); r.err == nil {
			_, err := fmt.Fprintf(out, "%s took a record and gave it back, %d ms\n", name(r.broker), r.took.Milliseconds())
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func name(b kmsg.MetadataResponseBroker) string {
	return fmt.Sprintf("broker %d (%s)", b.NodeID, address(b))
}

func address(b kmsg.MetadataResponseBroker) string {
	return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
}

// registered returns the brokers once there are as many as wanted.
func registered(ctx context.Context, client *kgo.Client, want int) ([]kmsg.MetadataResponseBroker, error) {
	var last error
	for {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
		resp, err := req.RequestWith(ctx, client)
		if err == nil {
			if len(resp.Brokers) == want {
				return slices.SortedFunc(slices.Values(resp.Brokers), func(a, b kmsg.MetadataResponseBroker) int { return int(a.NodeID - b.NodeID) }), nil
			}
			var names []string
			for _, b := range resp.Brokers {
				names = append(names, fmt.Sprint(b.NodeID))
			}
			slices.Sort(names)
			last = fmt.Errorf("%d brokers are registered, not %d (their ids: %s): look at the pods of those that are missing, or give the right number", len(names), want, strings.Join(names, ", "))
		} else if ctx.Err() == nil {
			last = fmt.Errorf("ask for the brokers: %w", err)
		}
		if ended := pause(ctx, every); ended != nil {
			return nil, reason(ctx, last, ended)
		}
	}
}

// ownPartitions makes a topic of which the i-th partition lives on the i-th
// broker alone, and returns when each leads its own.
func ownPartitions(ctx context.Context, client *kgo.Client, topic string, brokers []kmsg.MetadataResponseBroker) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 15_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1
	for i, b := range brokers {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), []int32{b.NodeID}
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	// One replica must do, whatever the cluster's default is.
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = "min.insync.replicas", kmsg.StringPtr("1")
	t.Configs = append(t.Configs, c)
	req.Topics = append(req.Topics, t)

	var last error
	for {
		resp, err := req.RequestWith(ctx, client)
		if err == nil && len(resp.Topics) == 1 {
			if err = kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil && resp.Topics[0].ErrorMessage != nil {
				err = fmt.Errorf("%w (%s)", err, *resp.Topics[0].ErrorMessage)
			}
		}
		switch {
		case err == nil, errors.Is(err, kerr.TopicAlreadyExists): // an answer of ours that was lost
			return leads(ctx, client, topic, brokers)
		case connect.Denied(err):
			return fmt.Errorf("no permission to create topic %q: grant this user CREATE on the cluster: %w", topic, err)
		case ctx.Err() == nil:
			last = fmt.Errorf("create topic %q: %w", topic, err)
		}
		if ended := pause(ctx, every); ended != nil {
			return reason(ctx, last, ended)
		}
	}
}

// leads returns when every broker leads its partition.
func leads(ctx context.Context, client *kgo.Client, topic string, brokers []kmsg.MetadataResponseBroker) error {
	var last error
	for {
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, client)
		if err == nil && len(resp.Topics) == 1 {
			leaders := map[int32]int32{}
			for _, p := range resp.Topics[0].Partitions {
				leaders[p.Partition] = p.Leader
			}
			var not []string
			for i, b := range brokers {
				if leader, ok := leaders[int32(i)]; !ok || leader != b.NodeID {
					not = append(not, name(b))
				}
			}
			if len(not) == 0 {
				return nil
			}
			err = fmt.Errorf("%s did not become the leader of a partition of its own: look at its log and the controller's", strings.Join(not, ", "))
		}
		if ctx.Err() == nil {
			last = err
		}
		if ended := pause(ctx, every/5); ended != nil {
			return reason(ctx, last, ended)
		}
	}
}

// roundTrip writes a record to the partition of a broker and reads it back.
func roundTrip(ctx context.Context, client *kgo.Client, topic string, partition int32, b kmsg.MetadataResponseBroker, opts []kgo.Opt) error {
	value := []byte(random())
	rec := &kgo.Record{Topic: topic, Partition: partition, Value: value}
	if err := client.ProduceSync(ctx, rec).FirstErr(); err != nil {
		return fmt.Errorf("%s took no record: %w", name(b), explain(ctx, b, opts, err))
	}
	part, err := rawlog.Fetch(ctx, client, topic, [16]byte{}, partition, rec.Offset)
	if err != nil {
		return fmt.Errorf("%s took a record and does not give it back: %w", name(b), explain(ctx, b, opts, err))
	}
	if len(part.Records) == 0 || !bytes.Equal(part.Records[0].Value, value) {
		return fmt.Errorf("%s took a record and has something else in its place, at offset %d of partition %d of topic %q", name(b), rec.Offset, partition, topic)
	}
	return nil
}

// explain finds out what is wrong with a broker, if that can be seen from here.
func explain(ctx context.Context, b kmsg.MetadataResponseBroker, opts []kgo.Opt, err error) error {
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if cause := connect.Check(looking, append(slices.Clone(opts), kgo.SeedBrokers(address(b)))); cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// sweep removes the topic, and those of self-tests that did not live to do so.
func sweep(ctx context.Context, client *kgo.Client, topic string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidy)
	defer cancel()
	admin := kadm.NewClient(client)
	remove := []string{topic}
	if all, err := admin.ListTopics(ctx); err == nil {
		for _, name := range all.Names() {
			if made, err := strconv.ParseInt(strings.TrimPrefix(name, BrokersTopic), 10, 64); err == nil && time.Since(time.Unix(made, 0)) > abandoned {
				remove = append(remove, name)
			}
		}
	}
	answers, err := admin.DeleteTopics(ctx, remove...)
	if err == nil {
		err = answers[topic].Err
	}
	if err != nil {
		log.Warn("the topic of the self-test could not be removed: the next self-test tries again after an hour", "topic", topic, "error", err)
	}
}
