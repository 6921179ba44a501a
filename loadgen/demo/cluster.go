package demo

import (
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster is an embedded Kafka cluster whose brokers can be killed.
//
// A killed broker drops every connection and accepts none. As on real Kafka,
// its partitions have no leader that answers until elect gives them others,
// and no data is lost, since the other replicas have it.
type cluster struct {
	*kfake.Cluster

	mu        sync.Mutex
	listeners map[string]*listener // by address
}

func newCluster(brokers int, opts ...kfake.Opt) (*cluster, error) {
	c := &cluster{listeners: map[string]*listener{}}
	var err error
	// It listens on 127.0.0.1, on ports that are free.
	c.Cluster, err = kfake.NewCluster(append(opts, kfake.NumBrokers(brokers), kfake.ListenFn(c.listen))...)
	if err != nil {
		return nil, fmt.Errorf("start an embedded cluster: %w", err)
	}
	c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), c.epochEnds)
	return c, nil
}

// epochEnds answers how far the log of an epoch reaches. The embedded cluster
// by itself does not know that of the last epoch with records once a leader has
// moved and nothing was written since, and clients take that for lost data.
// Here no log is ever truncated, so none ends below what a client has read.
func (c *cluster) epochEnds(req kmsg.Request) (kmsg.Response, error, bool) {
	c.KeepControl()
	asked := req.(*kmsg.OffsetForLeaderEpochRequest)
	answer := asked.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range asked.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			partition.Partition, partition.LeaderEpoch, partition.EndOffset = p.Partition, p.LeaderEpoch, math.MaxInt64
			topic.Partitions = append(topic.Partitions, partition)
		}
		answer.Topics = append(answer.Topics, topic)
	}
	return answer, nil, true
}

// options reach the cluster. They find a moved leader soon.
func (c *cluster) options() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(200 * time.Millisecond)}
}

func (c *cluster) listen(network, address string) (net.Listener, error) {
	inner, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, conns: map[net.Conn]bool{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners[inner.Addr().String()] = l
	return l, nil
}

// node returns the listener of a broker. Brokers are numbered in the order of
// their addresses.
func (c *cluster) node(broker int32) *listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listeners[c.ListenAddrs()[broker]]
}

// kill makes a broker drop its connections and accept none.
func (c *cluster) kill(broker int32) { c.node(broker).setDown(true) }

// revive ends what kill did.
func (c *cluster) revive(broker int32) { c.node(broker).setDown(false) }

// place is a partition and the broker that leads it.
type place struct {
	topic     string
	partition int32
	leader    int32
}

// leaders returns who leads the partitions of the topics.
func (c *cluster) leaders(topics []string) []place {
	var out []place
	for _, topic := range topics {
		for _, p := range c.PartitionInfos(topic) {
			out = append(out, place{topic, p.Partition, p.Leader})
		}
	}
	return out
}

// spread makes the brokers lead the partitions in turn.
func (c *cluster) spread(topics []string) error {
	brokers := int32(len(c.ListenAddrs()))
	for i, p := range c.leaders(topics) {
		if err := c.MoveTopicPartition(p.topic, p.partition, int32(i)%brokers); err != nil {
			return fmt.Errorf("move %s/%d: %w", p.topic, p.partition, err)
		}
	}
	return nil
}

// elect makes the other brokers lead what the given one does, in turn, and
// returns what it led.
func (c *cluster) elect(without int32, topics []string) ([]place, error) {
	var others []int32
	for i := range c.ListenAddrs() {
		if int32(i) != without {
			others = append(others, int32(i))
		}
	}
	led := slices.DeleteFunc(c.leaders(topics), func(p place) bool { return p.leader != without })
	for i, p := range led {
		if err := c.MoveTopicPartition(p.topic, p.partition, others[i%len(others)]); err != nil {
			return nil, fmt.Errorf("move %s/%d: %w", p.topic, p.partition, err)
		}
	}
	return led, nil
}

// prefer makes each partition's leader the one it says.
func (c *cluster) prefer(places []place) error {
	for _, p := range places {
		if err := c.MoveTopicPartition(p.topic, p.partition, p.leader); err != nil {
			return fmt.Errorf("move %s/%d: %w", p.topic, p.partition, err)
		}
	}
	return nil
}

// listener is a broker's door.
type listener struct {
	net.Listener

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

// Accept resets connections while the broker is down. It keeps the port, which
// another program might take otherwise.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.down {
			l.mu.Unlock()
			reset(conn)
			continue
		}
		tracked := &connection{Conn: conn, of: l}
		l.conns[tracked] = true
		l.mu.Unlock()
		return tracked, nil
	}
}

func (l *listener) setDown(down bool) {
	l.mu.Lock()
	l.down = down
	var cut []net.Conn
	if down {
		for conn := range l.conns {
			cut = append(cut, conn)
		}
	}
	l.mu.Unlock()
	for _, conn := range cut {
		reset(conn.(*connection).Conn)
	}
}

// reset closes a connection as a process does that is killed.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Without this what is in the buffers would still be delivered. If it
		// fails the connection is closed all the same.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// connection forgets itself when it is closed.
type connection struct {
	net.Conn
	of *listener
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
