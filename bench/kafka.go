package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// All that bench has of the lab is in this file.

func makeTempDir(parent string) (string, func() error, error) { return lab.TempDir(parent) }

// jvmOptions are those of Kafka's own scripts.
func jvmOptions(heap string) []string {
	return []string{"-Xms" + heap, "-Xmx" + heap, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
		"-XX:-UsePerfData", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"}
}

// Heaps of Kafka's scripts: of a broker and of its performance tools.
const (
	brokerHeap = "1g"
	toolHeap   = "512m"
)

// broker is a Kafka of one node, broker and controller at once.
type broker struct {
	kafka   lab.Kafka
	address string
	child   *child
	client  *kgo.Client
	admin   *kadm.Client
	log4j   string
}

const log4jProperties = `log4j.rootLogger=WARN, err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
`

// needBroker starts the broker where it does not run yet.
func (b *bench) needBroker(ctx context.Context) (*broker, error) {
	if b.broker != nil {
		return b.broker, nil
	}
	k, err := lab.FindKafka(ctx, b.java, b.cacheDir, b.say)
	if err != nil {
		return nil, err
	}
	ports, err := lab.FreePorts(2)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(b.temp, "kafka")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	at := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	properties := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  "1",
		"controller.quorum.voters":                 "1@" + at(ports[1]),
		"listeners":                                "PLAINTEXT://" + at(ports[0]) + ",CONTROLLER://" + at(ports[1]),
		"controller.listener.names":                "CONTROLLER",
		"inter.broker.listener.name":               "PLAINTEXT",
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                 data,
		"auto.create.topics.enable":                "false",
		"offsets.topic.replication.factor":         "1",
		"offsets.topic.num.partitions":             "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
		"log.segment.delete.delay.ms":              "1000", // a topic that was measured is to be off the disk
	}
	files := map[string][]byte{
		filepath.Join(data, "meta.properties"):     []byte("version=1\ncluster.id=AAECAwQFBgcICQoLDA0ODw\nnode.id=1\n"),
		filepath.Join(b.temp, "server.properties"): replicators.Properties(properties),
		filepath.Join(b.temp, "log4j.properties"):  []byte(log4jProperties),
	}
	for path, text := range files {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return nil, err
		}
	}
	k9 := &broker{kafka: k, address: at(ports[0]), log4j: filepath.Join(b.temp, "log4j.properties")}
	k9.client, err = kgo.NewClient(kgo.SeedBrokers(k9.address), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	k9.admin = kadm.NewClient(k9.client)
	argv, env := k9.javaCommand(brokerHeap, "kafka.Kafka", filepath.Join(b.temp, "server.properties"))
	if k9.child, err = start(b.temp, "broker", argv, env); err != nil {
		k9.client.Close()
		return nil, err
	}
	b.broker = k9 // to be stopped whatever happens
	b.say("starting Kafka %s", k.Version)
	return k9, k9.wait(ctx)
}

// javaCommand is how to start one of Kafka's programs.
func (k *broker) javaCommand(heap string, args ...string) (argv, env []string) {
	argv = append([]string{k.kafka.Java}, jvmOptions(heap)...)
	argv = append(argv, "-Dlog4j.configuration=file:"+k.log4j)
	return append(argv, args...), []string{"CLASSPATH=" + k.kafka.ClassPath}
}

// wait returns when the broker answers, which on a busy machine can take more than a minute.
func (k *broker) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		_, err := k.admin.ListTopics(attempt)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-k.child.done:
			return fmt.Errorf("the broker has ended: %w", k.child.failure())
		case <-ctx.Done():
			return fmt.Errorf("the broker does not answer: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *broker) stop() {
	if k == nil {
		return
	}
	k.client.Close()
	k.child.kill()
}

// maxMessageBytes of each topic, which bounds everybody's batches: Kafka's own default, rounded.
const maxMessageBytes = 1_000_000

// createTopic makes a topic whose records are stamped by the broker, so that the log tells how long
// it took to write them.
func (k *broker) createTopic(ctx context.Context, name string, partitions int) error {
	size, stamp := strconv.Itoa(maxMessageBytes), "LogAppendTime"
	_, err := k.admin.CreateTopic(ctx, int32(partitions), 1, map[string]*string{"max.message.bytes": &size, "message.timestamp.type": &stamp}, name)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return poll(ctx, time.Minute, "leaders of "+name, func(ctx context.Context) error {
		listed, err := k.admin.ListEndOffsets(ctx, name)
		if err != nil {
			return err
		}
		if n := len(listed[name]); n != partitions {
			return fmt.Errorf("%d of %d partitions are known", n, partitions)
		}
		return listed.Error()
	})
}

// deleteTopics removes topics that exist and returns when nobody is told of them any more.
func (k *broker) deleteTopics(ctx context.Context, names ...string) error {
	responses, err := k.admin.DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	for _, r := range responses {
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", r.Topic, r.Err)
		}
	}
	return nil
}

// written returns how many records topics hold and how long it took to append them.
func (k *broker) written(ctx context.Context, names ...string) (records int64, took time.Duration, err error) {
	firsts, err := k.admin.ListOffsetsAfterMilli(ctx, 0, names...)
	if err == nil {
		err = firsts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask when topics %s were begun: %w", names, err)
	}
	lasts, err := k.admin.ListMaxTimestampOffsets(ctx, names...)
	if err == nil {
		err = lasts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask when topics %s were last written: %w", names, err)
	}
	ends, err := k.admin.ListEndOffsets(ctx, names...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the end of topics %s: %w", names, err)
	}
	first, last := int64(0), int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 {
			return
		}
		records += o.Offset
		f, _ := firsts.Lookup(o.Topic, o.Partition)
		l, _ := lasts.Lookup(o.Topic, o.Partition)
		if first == 0 || f.Timestamp < first {
			first = f.Timestamp
		}
		last = max(last, l.Timestamp)
	})
	return records, time.Duration(last-first) * time.Millisecond, nil
}

// poll calls ready until it returns nil.
func poll(ctx context.Context, limit time.Duration, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// killGroup ends a process and all that it started.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
