package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/slowdisk"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Sizes of the JVMs: 3 + 3 brokers, ZooKeepers and MirrorMaker 2 take about 2.5 GiB. Data sizes are
// known to be small, so the serial collector does, and costs two cores the least. The heaps of a
// scenario are those of nodes of their own.
const (
	brokerHeap     = "256m"
	zooKeeperHeap  = "96m"
	replicatorHeap = "1g" // at 5k/s, catching up across the ocean, MirrorMaker 2 died of 256m
)

// Ports that the programs are known by.
const (
	kafkaPort     = 9092
	zooKeeperPort = 2181
)

// zooKeeperSession is how long a killed broker goes unnoticed, give or take a tick. Kafka's own 18 s
// would be most of a short outage.
const zooKeeperSession = 6 * time.Second

// brokerStop is how long a broker has to hand its partitions over when it is asked to stop, as a pod has.
const brokerStop = 30 * time.Second

// Cluster is one Kafka cluster: its brokers and a ZooKeeper of its own, so that nothing but the
// replicator is shared between source and destination, and either can be broken alone. Or it is
// somebody else's, of which only its addresses are known.
type Cluster struct {
	side      string
	sup       *supervisor
	net       network
	jvm       jvm
	dirs      directories
	limit     time.Duration // bound on each wait
	security  *security     // nil: plain text
	zooKeeper *zooKeeper    // nil: somebody else's cluster
	access    connect.Config
	client    *kgo.Client
	options   []kgo.Opt // of further clients, but for the addresses

	mu      sync.Mutex // guards what follows
	config  scenario.Cluster
	brokers []*broker // those there are meant to be, in the order of their ids
}

// directories of a cluster's files.
type directories struct {
	data    string // of the cluster's data
	configs string // of configuration files
	// slow says whose disk is to be slowed down some time.
	slow   func(side string, broker int) bool
	logger *slog.Logger
}

// broker is one broker, with all the addresses that it has had.
type broker struct {
	id int

	op      sync.Mutex     // held by whoever starts, stops or replaces it
	removed bool           // no more meant to be there; guarded by op
	disk    *slowdisk.Disk // nil: an ordinary directory; set before its first start

	// Guarded by the cluster's mu.
	seat   seat
	client *kgo.Client // that asks it alone
	proc   *process    // nil before its first start
}

// jvm is how to start a Java program.
type jvm struct {
	java      java
	classPath string
	temp      string // for what libraries unpack
	logs      string // for crash reports
	log4j     string // path of the logging configuration
	watch     *monitor
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

// newCluster places a cluster's ZooKeeper and brokers. Nothing is started.
func newCluster(side string, want scenario.Cluster, limit time.Duration, dirs directories, sup *supervisor, n network, j jvm, sec *security) (_ *Cluster, err error) {
	c := &Cluster{side: side, sup: sup, net: n, jvm: j, dirs: dirs, limit: limit, security: sec, config: want}
	if c.zooKeeper, err = placeZooKeeper(n, side, "zookeeper", clusterTick, dirs); err != nil {
		return nil, err
	}
	c.access.SetDefaults()
	c.access.ClientID = "loadgen-lab"
	sec.reach(&c.access)
	for id := range want.Brokers {
		if _, err := c.place(id); err != nil {
			return nil, err
		}
	}
	return c, c.connect()
}

// existingCluster is one that the lab has not made. It is asked whether it can be used.
func existingCluster(ctx context.Context, side string, want scenario.Cluster, access connect.Config, limit time.Duration, sup *supervisor, n network) (*Cluster, error) {
	c := &Cluster{side: side, sup: sup, net: n, limit: limit, access: access, config: want}
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := usable(ctx, side, access); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// usable says why a side's cluster that exists cannot be used, or nil.
func usable(ctx context.Context, side string, access connect.Config) error {
	opts, err := access.Options()
	if err == nil {
		err = connect.Check(ctx, opts)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", side, err)
	}
	return nil
}

// connect makes the cluster's own client.
func (c *Cluster) connect() error {
	access := c.access
	access.BootstrapServers = c.BootstrapServers(outside)
	opts, err := access.Options()
	if err != nil {
		return fmt.Errorf("client of the %s cluster: %w", c.side, err)
	}
	c.options = append(opts, kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordDeliveryTimeout(time.Minute))
	c.client, err = kgo.NewClient(append(slices.Clone(c.options), kgo.SeedBrokers(access.BootstrapServers...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("client of the %s cluster: %w", c.side, err)
	}
	return nil
}

// ours reports whether the lab runs the cluster itself.
func (c *Cluster) ours() bool { return c.zooKeeper != nil }

// place makes a broker of the cluster, which is not started.
func (c *Cluster) place(id int) (*broker, error) {
	b := &broker{id: id}
	if err := c.move(b); err != nil {
		return nil, err
	}
	if c.dirs.slow(c.side, id) {
		backing := c.data(b) + ".disk"
		if err := errors.Join(os.Mkdir(backing, 0o755), os.Mkdir(c.data(b), 0o755)); err != nil {
			return nil, fmt.Errorf("disk of %s broker %d: %w", c.side, id, err)
		}
		var err error
		if b.disk, err = slowdisk.Mount(backing, c.data(b), c.dirs.logger); err != nil {
			return nil, fmt.Errorf("disk of %s broker %d: %w", c.side, id, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.brokers = append(c.brokers, b)
	return b, nil
}

// move gives a broker an address. It must not run.
func (c *Cluster) move(b *broker) error {
	c.mu.Lock()
	old := b.seat
	c.mu.Unlock()
	if old != nil {
		if err := old.close(); err != nil {
			return err
		}
	}
	seat, err := c.net.place(c.side, fmt.Sprintf("broker-%d", b.id), kafkaPort)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b.seat = seat
	b.forget()
	return nil
}

// forget closes the client that asks the broker alone. Call it with the cluster's mu held.
func (b *broker) forget() {
	if b.client != nil {
		b.client.Close()
		b.client = nil
	}
}

// ask is for requests to the broker itself.
func (c *Cluster) ask(b *broker) (kmsg.Requestor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.client == nil {
		client, err := kgo.NewClient(append(slices.Clone(c.options), kgo.SeedBrokers(b.seat.reach(outside)))...)
		if err != nil {
			return nil, fmt.Errorf("client of %s broker %d: %w", c.side, b.id, err)
		}
		b.client = client
	}
	return b.client.SeedBrokers()[0], nil
}

func (c *Cluster) brokerConfig(b *broker) string {
	return filepath.Join(c.dirs.configs, fmt.Sprintf("%s-broker-%d.properties", c.side, b.id))
}

// data is where a broker keeps its log.
func (c *Cluster) data(b *broker) string {
	return filepath.Join(c.dirs.data, fmt.Sprintf("%s-broker-%d", c.side, b.id))
}

// properties returns the configuration of a broker as it is to be now.
func (c *Cluster) properties(b *broker) (map[string]string, error) {
	c.mu.Lock()
	want, seat := c.config, b.seat
	c.mu.Unlock()
	internal := min(3, want.Brokers)
	retention := time.Duration(want.Retention).Milliseconds()
	p := map[string]string{
		"broker.id":                       strconv.Itoa(b.id),
		"log.dirs":                        c.data(b),
		"zookeeper.connect":               c.zooKeeper.listen(),
		"zookeeper.session.timeout.ms":    strconv.FormatInt(zooKeeperSession.Milliseconds(), 10),
		"zookeeper.connection.timeout.ms": "30000",

		"default.replication.factor":     strconv.Itoa(want.ReplicationFactor),
		"min.insync.replicas":            strconv.Itoa(want.MinInsyncReplicas),
		"unclean.leader.election.enable": "false",
		"auto.create.topics.enable":      "false",
		"num.partitions":                 strconv.Itoa(want.Partitions),

		// Retention deletes whole segments: a fifth keeps what is there beyond its time below 20 %.
		"log.retention.ms":                strconv.FormatInt(retention, 10),
		"log.roll.ms":                     strconv.FormatInt(retention/5, 10),
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
	all, err := seat.listeners()
	if err != nil {
		return nil, fmt.Errorf("%s broker %d: %w", c.side, b.id, err)
	}
	var listens, advertised, protocols []string
	p["inter.broker.listener.name"] = all[0].name
	for _, l := range all {
		if l.name == strings.ToUpper(c.side) {
			p["inter.broker.listener.name"] = l.name
		}
		listens = append(listens, l.name+"://"+l.listen)
		advertised = append(advertised, l.name+"://"+l.advertised)
		protocols = append(protocols, l.name+":"+c.security.scheme())
		c.security.listener(p, l.name)
	}
	p["listeners"], p["advertised.listeners"] = strings.Join(listens, ","), strings.Join(advertised, ",")
	p["listener.security.protocol.map"] = strings.Join(protocols, ",")
	c.security.broker(p)
	maps.Copy(p, want.KafkaConfig)
	return p, nil
}

func writeProperties(path string, p map[string]string) error {
	if err := os.WriteFile(path, replicators.Properties(p), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// start starts ZooKeeper and every broker, and returns when each broker knows of all.
func (c *Cluster) start(ctx context.Context) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	if err := c.zooKeeper.run(ctx, c.sup, c.jvm, c.limit); err != nil {
		return err
	}
	all := c.members()
	for _, b := range all {
		if _, err := c.startProcess(b, nil); err != nil {
			return err
		}
	}
	return await(ctx, c.limit, fmt.Sprintf("%s cluster of %d brokers", c.side, len(all)), func(ctx context.Context) error {
		for _, b := range all {
			m, err := c.view(ctx, b)
			if err != nil {
				return fmt.Errorf("broker %d: %w", b.id, err)
			}
			if len(m.Brokers) != len(all) || m.ControllerID < 0 {
				return fmt.Errorf("broker %d knows of brokers %v and of controller %d", b.id, brokerIDs(m), m.ControllerID)
			}
		}
		return nil
	})
}

// view is a broker's own view of the cluster and some topics.
func (c *Cluster) view(ctx context.Context, b *broker, topics ...string) (*kmsg.MetadataResponse, error) {
	ask, err := c.ask(b)
	if err != nil {
		return nil, err
	}
	return metadata(ctx, ask, topics...)
}

// startProcess writes the broker's configuration and starts it. Nobody else may do so at the same time. For unasked see
// command.
func (c *Cluster) startProcess(b *broker, unasked func(*process)) (*process, error) {
	properties, err := c.properties(b)
	if err != nil {
		return nil, err
	}
	if err := writeProperties(c.brokerConfig(b), properties); err != nil {
		return nil, err
	}
	start := c.jvm.command(fmt.Sprintf("%s broker %d", c.side, b.id), brokerHeap, "kafka.Kafka", c.brokerConfig(b))
	start.in, start.unasked = c.at(b).start(), unasked
	if err := c.jvm.watch.java(&start, replicators.KafkaProcess, c.side, b.pod(), c.at(b)); err != nil {
		return nil, err
	}
	p, err := c.sup.start(start)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b.proc = p
	return p, nil
}

// pod is what its pod would be called.
func (b *broker) pod() string { return fmt.Sprintf("kafka-%d", b.id) }

// members returns the brokers there are meant to be.
func (c *Cluster) members() []*broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.brokers)
}

// at is where a broker is now.
func (c *Cluster) at(b *broker) seat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.seat
}

// BootstrapServers returns the addresses of the brokers there are meant to be, host:port, as they are
// reached from a side, in the order of their ids. They stay the same while brokers are killed and started.
func (c *Cluster) BootstrapServers(from string) []string {
	if !c.ours() {
		return c.access.BootstrapServers
	}
	var all []string
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.brokers {
		all = append(all, b.seat.reach(from))
	}
	return all
}

// Options returns what further clients of the cluster are made with.
func (c *Cluster) Options() []kgo.Opt {
	return append(slices.Clone(c.options), kgo.SeedBrokers(c.BootstrapServers(outside)...))
}

// close closes the cluster's clients.
func (c *Cluster) close() {
	if c == nil || c.client == nil {
		return
	}
	c.client.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.brokers {
		b.forget()
	}
}

// unmountAll is for the end of all processes.
func (c *Cluster) unmountAll() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, b := range c.members() {
		if b.disk != nil {
			errs = append(errs, b.disk.Close())
		}
	}
	return errors.Join(errs...)
}

// broker returns one of the brokers there are meant to be.
func (c *Cluster) broker(id int) (*broker, error) {
	all := c.members()
	if id < 0 || id >= len(all) {
		return nil, fmt.Errorf("the %s cluster has no broker %d: its brokers are 0 to %d", c.side, id, len(all)-1)
	}
	return all[id], nil
}

// running returns the broker's process, nil where it does not run.
func (c *Cluster) running(b *broker) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.proc == nil || !b.proc.alive() {
		return nil
	}
	return b.proc
}

func (c *Cluster) waitUnregistered(ctx context.Context, id int) error {
	return await(ctx, c.limit, fmt.Sprintf("%s ZooKeeper to notice that broker %d is gone", c.side, id), func(ctx context.Context) error {
		sessions, err := c.zooKeeper.ask(ctx, "dump")
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
