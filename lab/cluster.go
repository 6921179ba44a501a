package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Sizes of the JVMs: 3 + 3 brokers, ZooKeepers and MirrorMaker 2 take about 2.5 GiB. Data sizes are
// known to be small, so the serial collector does, and costs two cores the least.
const (
	brokerHeap     = "256m"
	zooKeeperHeap  = "96m"
	replicatorHeap = "256m"
)

// zooKeeperSession is how long a killed broker goes unnoticed, give or take a tick. Kafka's own 18 s
// would be most of a short outage.
const zooKeeperSession = 6 * time.Second

// Cluster is one Kafka cluster: its brokers and a ZooKeeper of its own, so that nothing but the
// replicator is shared between source and destination, and either can be broken alone.
type Cluster struct {
	side      string
	sup       *supervisor
	jvm       jvm
	limit     time.Duration // bound on each wait
	zooKeeper int           // port
	brokers   []*broker
	client    *kgo.Client
	admin     *kadm.Client

	mu sync.Mutex // guards the brokers' processes
}

type broker struct {
	port   int
	config string // path of its server.properties
	proc   *process
}

// jvm is how to start a Java program.
type jvm struct {
	java      java
	classPath string
	temp      string // for what libraries unpack
	logs      string // for crash reports
	log4j     string // path of the logging configuration
}

func (j jvm) command(name, heap string, args ...string) command {
	return command{
		name: name,
		argv: append([]string{
			j.java.path, "-Xmx" + heap, "-XX:+UseSerialGC",
			"-XX:+ExitOnOutOfMemoryError", // a death is noticed, a half-dead JVM is not
			"-XX:-UsePerfData",            // its file in /tmp would survive kill -9
			"-XX:ErrorFile=" + filepath.Join(j.logs, "hs_err_%p.log"),
			"-Djava.io.tmpdir=" + j.temp,
			"-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true",
			"-Dlog4j.configuration=file:" + j.log4j,
			// ZooKeeper would allocate 64 MiB of log at once, and wait for the disk at each step: a killed
			// process loses nothing that it has written.
			"-Dzookeeper.preAllocSize=1024", "-Dzookeeper.forceSync=no", "-Dzookeeper.jmx.log4j.disable=true",
		}, args...),
		env: []string{"CLASSPATH=" + j.classPath}, // as an argument it would fill every ps
	}
}

const log4jProperties = `log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
log4j.logger.org.apache.kafka.clients.consumer.ConsumerConfig=WARN
log4j.logger.org.apache.kafka.clients.producer.ProducerConfig=WARN
log4j.logger.org.apache.kafka.clients.admin.AdminClientConfig=WARN
log4j.logger.org.reflections=ERROR
`

// newCluster writes the configuration of a cluster below dir. Nothing is started.
func newCluster(side string, cfg Config, dir string, ports []int, sup *supervisor, j jvm) (*Cluster, error) {
	c := &Cluster{side: side, sup: sup, jvm: j, limit: cfg.StartTimeout, zooKeeper: ports[0]}
	zk := map[string]string{
		"dataDir":                   filepath.Join(dir, side+"-zookeeper"),
		"clientPort":                strconv.Itoa(c.zooKeeper),
		"clientPortAddress":         "127.0.0.1",
		"tickTime":                  "1000", // the grain of session timeouts
		"maxClientCnxns":            "0",
		"admin.enableServer":        "false", // it would take port 8080
		"4lw.commands.whitelist":    "ruok,dump",
		"autopurge.purgeInterval":   "1",
		"autopurge.snapRetainCount": "3",
	}
	if err := writeProperties(c.zooKeeperConfig(dir), zk); err != nil {
		return nil, err
	}
	for id := range cfg.Brokers {
		b := &broker{port: ports[1+id], config: filepath.Join(dir, fmt.Sprintf("%s-broker-%d.properties", side, id))}
		p := c.brokerConfig(cfg, id, b.port, filepath.Join(dir, fmt.Sprintf("%s-broker-%d", side, id)))
		maps.Copy(p, cfg.BrokerConfig)
		if err := writeProperties(b.config, p); err != nil {
			return nil, err
		}
		c.brokers = append(c.brokers, b)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.BootstrapServers()...), kgo.ClientID("loadgen-lab"),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordDeliveryTimeout(time.Minute),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("client of the %s cluster: %w", side, err)
	}
	c.client, c.admin = client, kadm.NewClient(client)
	return c, nil
}

func (c *Cluster) zooKeeperConfig(dir string) string {
	return filepath.Join(dir, c.side+"-zookeeper.properties")
}

func (c *Cluster) brokerConfig(cfg Config, id, port int, data string) map[string]string {
	replicas := cfg.replicas(c.side)
	minISR := 1
	if c.side == Source && replicas > 2 {
		minISR = 2 // with two replicas, one dead broker would already stop acks=all
	}
	internal := min(3, cfg.Brokers)
	return map[string]string{
		"broker.id":                       strconv.Itoa(id),
		"listeners":                       "PLAINTEXT://" + address(port),
		"log.dirs":                        data,
		"zookeeper.connect":               address(c.zooKeeper),
		"zookeeper.session.timeout.ms":    strconv.FormatInt(zooKeeperSession.Milliseconds(), 10),
		"zookeeper.connection.timeout.ms": "30000",

		"default.replication.factor":     strconv.Itoa(replicas),
		"min.insync.replicas":            strconv.Itoa(minISR),
		"unclean.leader.election.enable": "false",
		"auto.create.topics.enable":      "false",
		"num.partitions":                 strconv.Itoa(cfg.Partitions),

		// Retention deletes whole segments: a fifth keeps what is there beyond its time below 20 %.
		"log.retention.ms":                strconv.FormatInt(cfg.Retention.Milliseconds(), 10),
		"log.roll.ms":                     strconv.FormatInt(cfg.Retention.Milliseconds()/5, 10),
		"log.retention.check.interval.ms": "10000",

		"offsets.topic.replication.factor":         strconv.Itoa(internal),
		"offsets.topic.num.partitions":             "6", // 50 would only make starts and elections longer
		"transaction.state.log.replication.factor": strconv.Itoa(internal),
		"transaction.state.log.min.isr":            strconv.Itoa(min(2, internal)),
		"transaction.state.log.num.partitions":     "6",
		"group.initial.rebalance.delay.ms":         "0",

		"num.network.threads":                 "2",
		"num.io.threads":                      "4",
		"num.recovery.threads.per.data.dir":   "2",
		"background.threads":                  "4",
		"log.cleaner.dedupe.buffer.size":      "8388608", // the default takes half of the heap
		"socket.send.buffer.bytes":            "-1",
		"socket.receive.buffer.bytes":         "-1",
		"replica.socket.receive.buffer.bytes": "-1",
	}
}

func writeProperties(path string, p map[string]string) error {
	if err := os.WriteFile(path, replicators.Properties(p), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// start starts ZooKeeper and every broker, and returns when each broker knows of all.
func (c *Cluster) start(ctx context.Context, dir string) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	_, err := c.sup.start(c.jvm.command(c.side+" zookeeper", zooKeeperHeap,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", c.zooKeeperConfig(dir)))
	if err != nil {
		return err
	}
	err = await(ctx, c.limit, c.side+" ZooKeeper", func(ctx context.Context) error {
		_, err := c.askZooKeeper(ctx, "ruok")
		return err
	})
	if err != nil {
		return err
	}
	for id := range c.brokers {
		if err := c.startProcess(id); err != nil {
			return err
		}
	}
	return await(ctx, c.limit, fmt.Sprintf("%s cluster of %d brokers", c.side, len(c.brokers)), func(ctx context.Context) error {
		for id, b := range c.client.SeedBrokers() { // in the order of BootstrapServers
			m, err := metadata(ctx, b)
			if err != nil {
				return fmt.Errorf("broker %d: %w", id, err)
			}
			if len(m.Brokers) != len(c.brokers) || m.ControllerID < 0 {
				return fmt.Errorf("broker %d knows of brokers %v and of controller %d", id, brokerIDs(m), m.ControllerID)
			}
		}
		return nil
	})
}

func (c *Cluster) startProcess(id int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.sup.start(c.jvm.command(fmt.Sprintf("%s broker %d", c.side, id), brokerHeap, "kafka.Kafka", c.brokers[id].config))
	if err != nil {
		return err
	}
	c.brokers[id].proc = p
	return nil
}

// BootstrapServers returns the addresses of all brokers, host:port, in the order of their ids. They
// stay the same while brokers are killed and started.
func (c *Cluster) BootstrapServers() []string {
	var all []string
	for _, b := range c.brokers {
		all = append(all, address(b.port))
	}
	return all
}

// Admin returns a client of the cluster. It is the cluster's own: do not close it. Its metadata may
// come from a cache.
func (c *Cluster) Admin() *kadm.Client { return c.admin }

// running returns the broker's process, nil where it does not run.
func (c *Cluster) running(id int) (*process, error) {
	if id < 0 || id >= len(c.brokers) {
		return nil, fmt.Errorf("the %s cluster has no broker %d: its brokers are 0 to %d", c.side, id, len(c.brokers)-1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.brokers[id].proc
	if p == nil {
		return nil, nil
	}
	select {
	case <-p.done:
		return nil, nil
	default:
		return p, nil
	}
}

// Kill kills the broker as kill -9 does, and returns when its process has ended. The cluster
// notices some seconds later. Disk and address stay. The error says that it does not run or does
// not exist.
func (c *Cluster) Kill(id int) error {
	p, err := c.running(id)
	if err != nil {
		return err
	}
	if p == nil {
		return fmt.Errorf("kill %s broker %d: it does not run", c.side, id)
	}
	p.kill()
	return nil
}

// Start starts a killed broker on its old disk and address, and returns when the controller has
// taken it in again. It waits first until the cluster has noticed the kill: a broker that returns
// earlier finds its own id still taken, and ends.
func (c *Cluster) Start(ctx context.Context, id int) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	p, err := c.running(id)
	if err != nil {
		return err
	}
	if p != nil {
		return fmt.Errorf("start %s broker %d: it runs already", c.side, id)
	}
	if err := c.waitUnregistered(ctx, id); err != nil {
		return err
	}
	if err := c.startProcess(id); err != nil {
		return err
	}
	return await(ctx, c.limit, fmt.Sprintf("%s broker %d", c.side, id), func(ctx context.Context) error {
		// Its own view: it knows nothing until the controller has told it, where others may not have
		// heard of its death yet.
		m, err := metadata(ctx, c.client.SeedBrokers()[id])
		if err != nil {
			return err
		}
		if !slices.Contains(brokerIDs(m), int32(id)) {
			return errors.New("the controller has not taken it in yet")
		}
		return nil
	})
}

func (c *Cluster) waitUnregistered(ctx context.Context, id int) error {
	return await(ctx, c.limit, fmt.Sprintf("%s ZooKeeper to notice that broker %d is gone", c.side, id), func(ctx context.Context) error {
		sessions, err := c.askZooKeeper(ctx, "dump")
		if err != nil {
			return err
		}
		for line := range strings.Lines(sessions) {
			if strings.TrimSpace(line) == fmt.Sprintf("/brokers/ids/%d", id) {
				return errors.New("it is still registered")
			}
		}
		return nil
	})
}

// askZooKeeper sends one of ZooKeeper's four-letter words.
func (c *Cluster) askZooKeeper(ctx context.Context, word string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address(c.zooKeeper))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(bytes.TrimSpace(answer)) == 0 {
		err = fmt.Errorf("ZooKeeper gave no answer to %q", word)
	}
	return string(answer), err
}

// metadata asks a broker, or by a client any broker, for the cluster as it is now: its brokers and
// the topics; no topics means brokers only. (kadm answers from a cache, which knows nothing of a
// broker that returns.)
func metadata(ctx context.Context, ask kmsg.Requestor, topics ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, t := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &t
		req.Topics = append(req.Topics, topic)
	}
	m, err := req.RequestWith(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, t := range m.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return nil, fmt.Errorf("topic %s: %w", *t.Topic, err)
		}
	}
	return m, nil
}

func brokerIDs(m *kmsg.MetadataResponse) []int32 {
	var ids []int32
	for _, b := range m.Brokers {
		ids = append(ids, b.NodeID)
	}
	slices.Sort(ids)
	return ids
}

// WaitWithout returns when every partition of the topics has a leader and none is led by or in sync
// with that broker: the cluster has noticed that it is dead. With -1, leaders are enough.
func (c *Cluster) WaitWithout(ctx context.Context, limit time.Duration, id int, topics ...string) error {
	return c.waitPartitions(ctx, c.client, limit, "leaders", topics, func(p kmsg.MetadataResponseTopicPartition) bool {
		return p.Leader >= 0 && p.Leader != int32(id) && !slices.Contains(p.ISR, int32(id))
	})
}

// WaitInSync returns when all replicas of every partition of the topics are in sync, as that broker
// sees it. One that has just returned is the one to ask: it has no memory of before.
func (c *Cluster) WaitInSync(ctx context.Context, limit time.Duration, id int, topics ...string) error {
	if _, err := c.running(id); err != nil {
		return err
	}
	return c.waitPartitions(ctx, c.client.SeedBrokers()[id], limit, "all replicas in sync", topics, func(p kmsg.MetadataResponseTopicPartition) bool {
		return p.Leader >= 0 && len(p.ISR) == len(p.Replicas)
	})
}

func (c *Cluster) waitPartitions(ctx context.Context, ask kmsg.Requestor, limit time.Duration, what string, topics []string, good func(kmsg.MetadataResponseTopicPartition) bool) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	return await(ctx, limit, fmt.Sprintf("%s cluster: %s", c.side, what), func(ctx context.Context) error {
		m, err := metadata(ctx, ask, topics...)
		if err != nil {
			return err
		}
		var bad []string
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				if !good(p) {
					bad = append(bad, fmt.Sprintf("%s/%d (leader %d, in sync %v of %v)", *t.Topic, p.Partition, p.Leader, p.ISR, p.Replicas))
				}
			}
		}
		if len(bad) > 0 {
			return fmt.Errorf("%d partitions are not so, one is %s", len(bad), bad[0])
		}
		return nil
	})
}

// Leader returns the broker that leads a partition.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) (int, error) {
	m, err := metadata(ctx, c.client, topic)
	if err != nil {
		return -1, fmt.Errorf("leader of %s/%d in the %s cluster: %w", topic, partition, c.side, err)
	}
	for _, p := range m.Topics[0].Partitions {
		if p.Partition == partition && p.Leader >= 0 {
			return int(p.Leader), nil
		}
	}
	return -1, fmt.Errorf("%s/%d in the %s cluster has no leader", topic, partition, c.side)
}

// createTopic makes a topic and waits until it is led.
func (c *Cluster) createTopic(ctx context.Context, topic string, partitions, replicas int) error {
	r, err := c.admin.CreateTopic(ctx, int32(partitions), int16(replicas), nil, topic)
	if err = errors.Join(err, r.Err); err != nil {
		return fmt.Errorf("create topic %s in the %s cluster: %w", topic, c.side, err)
	}
	return c.WaitWithout(ctx, c.limit, -1, topic)
}
