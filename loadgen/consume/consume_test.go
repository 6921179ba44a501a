package consume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// All kinds of anomalies, two topics, of which one appears late and grows.
func TestCountsAreExact(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 4)
	orders := newTraffic(t, opts, "orders", 1)
	orders.send(2000, 4, true)

	c := start(t, opts, testConfig("c", "orders", "late"))
	eventually(t, "it says that it waits", func() bool { return c.log.contain("waiting for a topic") })
	if err := c.Ready(); err == nil {
		t.Error("it is ready without its topic")
	}
	orders.send(2000, 4, true)
	createTopic(t, opts, "late", 2)
	late := newTraffic(t, opts, "late", 2)
	late.send(500, 2, true)
	late.grow(3)
	late.send(500, 5, true)
	eventually(t, "it is ready", func() bool { return c.Ready() == nil })
	eventually(t, "it has read all", func() bool { return c.Progress().Records == uint64(orders.sent+late.sent) })
	eventually(t, "there is no lag", func() bool { return c.Progress().Lag == 0 })
	c.stop()
	if n := c.Progress().Partitions; n != 9 {
		t.Errorf("%d partitions", n)
	}
	expectExact(t, opts, "orders")
	expectExact(t, opts, "late")
}

// Instances share the partitions out so that each is read by one.
func TestInstances(t *testing.T) {
	_, opts := startCluster(t)
	var topics []string
	for i := range 5 {
		topics = append(topics, fmt.Sprint("topic-", i))
		createTopic(t, opts, topics[i], 7)
	}
	var all []*running
	for i := range 3 {
		cfg := testConfig(fmt.Sprint("c", i), topics...)
		cfg.Instances, cfg.Index = 3, i
		all = append(all, start(t, opts, cfg))
	}
	sent := 0
	for i, topic := range topics {
		tr := newTraffic(t, opts, topic, uint64(i))
		tr.send(300, 7, true)
		sent += tr.sent
	}
	total := func() (records uint64, partitions int) {
		for _, c := range all {
			p := c.Progress()
			records, partitions = records+p.Records, partitions+p.Partitions
		}
		return records, partitions
	}
	eventually(t, "all is read once", func() bool { n, _ := total(); return n >= uint64(sent) })
	for _, c := range all {
		c.stop()
		if n := c.Progress().Partitions; n < 35/3-3 || n > 35/3+4 {
			t.Errorf("%s has %d of 35 partitions", c.cfg.ID, n)
		}
	}
	if records, partitions := total(); records != uint64(sent) || partitions != 35 {
		t.Errorf("%d records of %d, %d partitions of 35", records, sent, partitions)
	}
	for _, topic := range topics {
		expectExact(t, opts, topic)
	}
}

// A consumer that is killed at any moment, again and again, counts as one that
// never was.
func TestKilledAtAnyMoment(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 4)
	tr := newTraffic(t, opts, "orders", seed)
	kills := 0
	for range 12 {
		tr.send(400, 4, true)
		cfg := testConfig("c", "orders")
		cfg.SnapshotInterval = 10 * time.Millisecond
		c := start(t, opts, cfg)
		// Killed after so many records, or when there are no more.
		until := uint64(rng.IntN(900))
		eventually(t, "it reads", func() bool {
			p := c.Progress()
			return p.Records >= until || c.Ready() == nil && p.Partitions == 4 && p.Lag == 0
		})
		c.crash()
		kills++
	}
	c := start(t, opts, testConfig("c", "orders"))
	caughtUp(t, opts, "orders")
	c.stop()
	expectExact(t, opts, "orders")
	t.Logf("%d records, %d kills", tr.sent, kills)
}

// A group whose members come, go and die.
func TestGroup(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 6)
	tr := newTraffic(t, opts, "orders", seed)
	clients := append(opts, kgo.HeartbeatInterval(20*time.Millisecond), kgo.SessionTimeout(6*time.Second))
	member := func(i int) *running {
		cfg := testConfig(fmt.Sprint("c", i), "orders")
		cfg.Group = "verifiers"
		return start(t, clients, cfg)
	}
	together := func(members []*running) (n int) {
		for _, m := range members {
			n += m.Progress().Partitions
		}
		return n
	}
	members := []*running{member(0)}
	for i := 1; i <= 7; i++ {
		tr.send(300, 6, true)
		switch {
		case len(members) < 3 && (len(members) == 1 || rng.IntN(2) == 0):
			members = append(members, member(i))
		default:
			leaving := rng.IntN(len(members))
			m := members[leaving]
			members = append(members[:leaving], members[leaving+1:]...)
			if rng.IntN(2) == 0 {
				m.crash()
			} else {
				m.stop()
			}
		}
		// Sometimes the next change comes while this one is under way.
		if rng.IntN(3) > 0 {
			eventually(t, "all partitions are assigned", func() bool {
				if together(members) != 6 {
					return false
				}
				for _, m := range members {
					if len(members) < 4 && m.Progress().Partitions == 0 {
						return false
					}
				}
				return true
			})
		}
	}
	tr.grow(2)
	tr.send(300, 8, true)
	caughtUp(t, opts, "orders")
	for _, m := range members {
		m.stop()
	}
	expectExact(t, opts, "orders")
}

// A partition that changes hands is read on exactly where it was left.
func TestHandOver(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 6)
	tr := newTraffic(t, opts, "orders", 1)
	clients := append(opts, kgo.HeartbeatInterval(20*time.Millisecond))
	var members []*running
	read := func() (n uint64) {
		for _, m := range members {
			n += m.Progress().Records
		}
		return n
	}
	for i := range 3 {
		cfg := testConfig(fmt.Sprint("c", i), "orders")
		cfg.Group = "verifiers"
		cfg.SnapshotInterval = maxSnapshotInterval // only what is stored when a partition changes hands counts
		members = append(members, start(t, clients, cfg))
		eventually(t, "partitions are shared out", func() bool {
			total := 0
			for _, m := range members {
				n := m.Progress().Partitions
				if n == 0 || m.Ready() != nil {
					return false
				}
				total += n
			}
			return total == 6
		})
		tr.send(300, 6, true)
		eventually(t, "all is read", func() bool { return read() >= uint64(tr.sent) })
	}
	for i, m := range members {
		m.stop()
		if i < 2 {
			left := members[i+1:]
			eventually(t, "the others take over", func() bool {
				total := 0
				for _, m := range left {
					total += m.Progress().Partitions
				}
				return total == 6
			})
		}
		if got := read(); got != uint64(tr.sent) {
			t.Errorf("%d records were read, of %d", got, tr.sent)
		}
	}
	expectExact(t, opts, "orders")
}

// A process that was paused while another took over its partitions, and wakes
// and stores what it knew, changes nothing.
func TestZombie(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 3)
	tr := newTraffic(t, opts, "orders", 1)
	tr.send(600, 3, true)
	zombie := start(t, opts, testConfig("c", "orders"))
	caughtUp(t, opts, "orders")

	// It has read a little more, and is paused before it stores that.
	for _, p := range zombie.owned() {
		p.storing.Lock()
	}
	tr.send(300, 3, true)
	eventually(t, "the first has read all", func() bool { return zombie.Progress().Records == uint64(tr.sent) })
	gate := make(chan struct{})
	paused := make(chan struct{})
	go zombie.do(func() { close(paused); <-gate })
	<-paused
	read := map[int32]int64{}
	for _, p := range zombie.owned() {
		read[p.partition] = p.state.Next
	}

	second := start(t, opts, testConfig("c", "orders")) // with the same id, as an orchestrator would
	tr.send(600, 3, true)
	caughtUp(t, opts, "orders")
	best := bestStates(t, opts, "orders")[topicID(t, opts, "orders")]

	// It wakes and stores.
	for _, p := range zombie.owned() {
		p.storing.Unlock()
	}
	written := func() map[int32]int64 {
		out := map[int32]int64{}
		r, err := ledger.NewReader(ledger.ReaderConfig{Opts: opts, Topic: ledger.DestinationTopic, Test: testID, Kinds: []string{ledger.KindReceived}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.ReadToEnd(deadline(t), func(e ledger.Entry) error {
			s, err := ledger.Restore(e.Payload)
			if err == nil && strings.HasPrefix(s.Writer, zombie.writer) {
				out[s.Partition] = s.Next
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	eventually(t, "the zombie stores what it knew", func() bool { return fmt.Sprint(written()) == fmt.Sprint(read) })
	for p, s := range bestStates(t, opts, "orders")[topicID(t, opts, "orders")] {
		if s.Next != best[p].Next || strings.HasPrefix(s.Writer, zombie.writer) {
			t.Errorf("partition %d: the zombie's snapshot at %d replaces the one at %d", p, s.Next, best[p].Next)
		}
	}
	expectExact(t, opts, "orders")

	// And all of them go on; who comes new, where the second was.
	second.crash()
	third := start(t, opts, testConfig("c", "orders"))
	eventually(t, "the third is ready", func() bool { return third.Ready() == nil && third.Progress().Lag == 0 })
	if n := third.Progress().Records; n != 0 {
		t.Errorf("the third has read %d records again", n)
	}
	close(gate)
	tr.send(300, 3, true)
	caughtUp(t, opts, "orders")
	third.stop()
	zombie.stop()
	expectExact(t, opts, "orders")
}

// Markers of transactions hold no record, but count as read.
func TestTransactions(t *testing.T) {
	cluster, opts := startCluster(t)
	createTopic(t, opts, "orders", 2)
	tr := newTraffic(t, opts, "orders", 1, kgo.TransactionalID("tx"))
	c := start(t, opts, testConfig("c", "orders"))
	for i := range 6 {
		if err := tr.client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		tr.send(50, 2, true)
		for p := range int32(2) { // the marker is of another leader epoch than the records
			if err := cluster.MoveTopicPartition("orders", p, int32(i)%2); err != nil {
				t.Fatal(err)
			}
		}
		if err := tr.client.EndTransaction(deadline(t), kgo.TransactionEndTry(i%3 > 0)); err != nil {
			t.Fatal(err)
		}
		caughtUp(t, opts, "orders") // with a marker at the end
		if i%2 == 0 {
			c.stop()
			c = start(t, opts, testConfig("c", "orders"))
		}
	}
	c.stop()
	for p, s := range expectExact(t, opts, "orders") {
		if !s.Unobserved.Empty() || s.Records == uint64(s.Next) {
			t.Errorf("partition %d: unobserved %s, %d records up to %d", p, describeSet(&s.Unobserved), s.Records, s.Next)
		}
		if s.Generation != 0 {
			t.Errorf("partition %d was taken for truncated %d times", p, s.Generation)
		}
	}
}

// Compaction leaves gaps, which are no loss and do not keep a partition from
// being read to its end.
func TestCompaction(t *testing.T) {
	cluster, opts := startCluster(t)
	createTopic(t, opts, "orders", 2, "cleanup.policy", "compact", "segment.bytes", "2000", "min.cleanable.dirty.ratio", "0")
	tr := newTraffic(t, opts, "orders", 1)
	// kfake moves the log's start when the first record is removed, Kafka does not.
	for p := range int32(2) {
		if err := tr.client.ProduceSync(deadline(t), &kgo.Record{Topic: "orders", Partition: p, Key: []byte("stays"), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		tr.send(30, 2, false)
	}
	cluster.Compact()
	c := start(t, opts, testConfig("c", "orders"))
	caughtUp(t, opts, "orders")
	c.stop()
	gaps := false
	for _, s := range expectExact(t, opts, "orders") {
		gaps = gaps || s.Records < uint64(s.Next)
		if !s.Unobserved.Empty() {
			t.Errorf("unobserved: %s", describeSet(&s.Unobserved))
		}
	}
	if !gaps {
		t.Error("nothing was compacted")
	}
}

// The last records of a log may be compacted away too, such as tombstones. The
// client says nothing then, but the partition counts as read to its end.
func TestCompactedTail(t *testing.T) {
	cluster, opts := startCluster(t)
	createTopic(t, opts, "orders", 1)
	tr := newTraffic(t, opts, "orders", 1)
	tr.send(100, 1, false)
	tr.send(5, 1, false) // these will be empty
	empty := kmsg.RecordBatch{FirstOffset: 100, PartitionLeaderEpoch: 0, Magic: 2, LastOffsetDelta: 4, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1}
	raw := empty.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	cluster.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		req.MaxBytes = 1 // which means one batch at a time
		for _, rt := range req.Topics {
			if rt.TopicID != topicIDOf(cluster, "orders") || len(rt.Partitions) != 1 || rt.Partitions[0].FetchOffset < 100 || rt.Partitions[0].FetchOffset > 104 {
				continue
			}
			resp := req.ResponseKind().(*kmsg.FetchResponse)
			topic, part := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
			topic.TopicID = rt.TopicID
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset, part.RecordBatches = 105, 105, 0, raw
			topic.Partitions = append(topic.Partitions, part)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		}
		return nil, nil, false
	})
	c := start(t, append(opts, kgo.DisableFetchSessions()), testConfig("c", "orders"))
	caughtUp(t, opts, "orders")
	c.stop()
	s := bestStates(t, opts, "orders")[topicID(t, opts, "orders")][0]
	if s.Next != 105 || s.Records != 100 || !s.Unobserved.Empty() {
		t.Errorf("%d records up to %d, unobserved%s", s.Records, s.Next, describeSet(&s.Unobserved))
	}
}

func deleteRecords(t testing.TB, opts []kgo.Opt, topic string, partition int32, below int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: below})
	if _, err := kadm.NewClient(newClient(t, opts)).DeleteRecords(deadline(t), offsets); err != nil {
		t.Fatal(err)
	}
}

// What retention took before it was read is unobserved, whether the consumer
// was away or too slow.
func TestRetentionAhead(t *testing.T) {
	for _, away := range []bool{true, false} {
		t.Run(map[bool]string{true: "while away", false: "while too slow"}[away], func(t *testing.T) {
			cluster, opts := startCluster(t)
			createTopic(t, opts, "orders", 1)
			tr := newTraffic(t, opts, "orders", 1)
			tr.send(100, 1, false)
			deleteRecords(t, opts, "orders", 0, 10) // before it ever began
			c := start(t, opts, testConfig("c", "orders"))
			caughtUp(t, opts, "orders")
			var slow, heal = make(chan struct{}), make(chan struct{})
			if away {
				c.crash()
			} else {
				cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
					select {
					case <-heal:
						return nil, nil, false
					default:
					}
					cluster.KeepControl()
					select {
					case <-slow:
					default:
						close(slow)
					}
					return nil, errors.New("not now"), true
				})
				<-slow
			}
			tr.send(100, 1, false)
			deleteRecords(t, opts, "orders", 0, 150)
			if away {
				c = start(t, opts, testConfig("c", "orders"))
			} else {
				close(heal)
			}
			tr.send(100, 1, false)
			caughtUp(t, opts, "orders")
			c.stop()
			s := bestStates(t, opts, "orders")[topicID(t, opts, "orders")][0]
			if got := describeSet(&s.Unobserved); got != " 0-9 100-149" {
				t.Errorf("unobserved:%s", got)
			}
			if s.Records != 240 || s.Next != 300 || describeSet(&s.Streams[0].Seen) != " 10-99 150-299" {
				t.Errorf("%d records up to %d:%s", s.Records, s.Next, describeSet(&s.Streams[0].Seen))
			}
			if got := c.Progress().Unobserved; got != 50 {
				t.Errorf("the metric says %d unobserved", got)
			}
		})
	}
}

// A topic that is deleted and made anew is another log: what is known of the
// old one stays, the new one is read from its start.
func TestTopicMadeAnew(t *testing.T) {
	for _, test := range []struct {
		name      string
		running   bool
		snapshots time.Duration
	}{{"while running", true, 20 * time.Millisecond}, {"while running, before a snapshot", true, maxSnapshotInterval}, {"while away", false, 20 * time.Millisecond}} {
		running := test.running
		t.Run(test.name, func(t *testing.T) {
			_, opts := startCluster(t)
			createTopic(t, opts, "orders", 3)
			tr := newTraffic(t, opts, "orders", 1)
			tr.send(300, 3, true)
			cfg := testConfig("c", "orders")
			cfg.SnapshotInterval = test.snapshots
			c := start(t, opts, cfg)
			eventually(t, "it reads", func() bool { return c.Progress().Records == uint64(tr.sent) })
			old := topicID(t, opts, "orders")
			before := readLog(t, opts, "orders")
			if !running {
				c.stop()
			}
			if _, err := kadm.NewClient(newClient(t, opts)).DeleteTopic(deadline(t), "orders"); err != nil {
				t.Fatal(err)
			}
			if running {
				eventually(t, "it waits for the topic", func() bool { return c.log.contain("waiting for a topic") })
			}
			createTopic(t, opts, "orders", 2) // fewer partitions
			first := tr.sent
			tr = newTraffic(t, opts, "orders", 9)
			tr.send(500, 2, true)
			if !running {
				first = 0
				c = start(t, opts, cfg)
			}
			eventually(t, "it reads the new topic", func() bool { return c.Ready() == nil && c.Progress().Records == uint64(first+tr.sent) })
			c.stop()
			expectExact(t, opts, "orders")
			for p, s := range bestStates(t, opts, "orders")[old] {
				if fromState(s).String() != before[p].String() {
					t.Errorf("what was known of the old partition %d is not what it was", p)
				}
			}
			if got := len(bestStates(t, opts, "orders")[old]); got != 3 {
				t.Errorf("%d partitions of the old topic in the ledger", got)
			}
		})
	}
}

// While the ledger cannot be written verification goes on; when it can again,
// everything is stored.
func TestLedgerUnavailable(t *testing.T) {
	cluster, opts := startCluster(t)
	createTopic(t, opts, "orders", 2)
	c := start(t, opts, testConfig("c", "orders"))
	eventually(t, "it is ready", func() bool { return c.Ready() == nil })
	var heal = make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if len(req.(*kmsg.ProduceRequest).Topics) == 0 || req.(*kmsg.ProduceRequest).Topics[0].Topic == "orders" || req.(*kmsg.ProduceRequest).Topics[0].TopicID == topicIDOf(cluster, "orders") {
			return nil, nil, false
		}
		select {
		case <-heal:
			return nil, nil, false
		default:
			return nil, errors.New("not now"), true
		}
	})
	tr := newTraffic(t, opts, "orders", 1)
	tr.send(500, 2, true)
	eventually(t, "it verifies", func() bool { return c.Progress().Records == uint64(tr.sent) })
	if len(bestStates(t, opts, "orders")) != 0 {
		for _, s := range bestStates(t, opts, "orders")[topicID(t, opts, "orders")] {
			if s.Records > 0 {
				t.Error("the ledger was available")
			}
		}
	}
	close(heal)
	caughtUp(t, opts, "orders")
	c.stop()
	expectExact(t, opts, "orders")
}

func topicIDOf(c *kfake.Cluster, topic string) [16]byte { return c.TopicInfo(topic).TopicID }

// A stop does not take longer than it may, and says what it could not do.
func TestStopWithoutLedger(t *testing.T) {
	cluster, opts := startCluster(t)
	createTopic(t, opts, "orders", 1)
	tr := newTraffic(t, opts, "orders", 1)
	cfg := testConfig("c", "orders")
	cfg.SnapshotInterval = 10 * time.Second
	cfg.ShutdownTimeout = 50 * time.Millisecond
	c := start(t, opts, cfg)
	tr.send(100, 1, false)
	eventually(t, "it verifies", func() bool { return c.Progress().Records == 100 })
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("not now"), true
	})
	if err := c.end(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "orders") {
		t.Errorf("%v", err)
	}
}

func TestDenied(t *testing.T) {
	user := func(resource kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) (out []kfake.ACL) {
		for _, op := range ops {
			out = append(out, kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return out
	}
	all := append(user(kmsg.ACLResourceTypeTopic, "orders", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe), user(kmsg.ACLResourceTypeTopic, ledger.DestinationTopic, kmsg.ACLOperationAll)...)
	for _, test := range []struct {
		name  string
		acls  []kfake.ACL
		group string
		want  []string
	}{
		{"to see the topic", nil, "", []string{"topic orders", "READ"}},
		{"to read the topic", user(kmsg.ACLResourceTypeTopic, "orders", kmsg.ACLOperationDescribe), "", []string{"topic orders", "READ"}},
		{"the ledger", user(kmsg.ACLResourceTypeTopic, "orders", kmsg.ACLOperationRead), "", []string{ledger.DestinationTopic}},
		{"the group", all, "verifiers", []string{"group verifiers", "READ"}},
		{"", all, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, opts := startCluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "pw"), kfake.User("PLAIN", "user", "pw", test.acls...))
			as := func(name string) []kgo.Opt {
				return append(opts[:1:1], kgo.SASL(plain.Auth{User: name, Pass: "pw"}.AsMechanism()))
			}
			createTopic(t, as("root"), "orders", 1)
			cfg := testConfig("c", "orders")
			cfg.Group = test.group
			c := start(t, as("user"), cfg)
			if test.want == nil {
				eventually(t, "it is ready", func() bool { return c.Ready() == nil })
				c.stop()
				return
			}
			select {
			case err := <-c.done:
				c.ended = true
				for _, want := range append(test.want, "permission", "consumer c") {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%v; want %q", err, want)
					}
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it runs")
			}
		})
	}
}

func TestConfig(t *testing.T) {
	good := testConfig("c", "orders")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"test id", func(c *Config) { c.TestID = "a/b" }, `"a/b"`},
		{"no test id", func(c *Config) { c.TestID = "" }, "test id"},
		{"id", func(c *Config) { c.ID = "" }, "consumer id"},
		{"topics", func(c *Config) { c.Topics = nil }, "topic"},
		{"ledger", func(c *Config) { c.Topics = []string{ledger.DestinationTopic} }, ledger.DestinationTopic},
		{"instances", func(c *Config) { c.Instances = 0 }, "0 instances"},
		{"index", func(c *Config) { c.Instances, c.Index = 3, 3 }, "index 3 of 3"},
		{"negative index", func(c *Config) { c.Index = -1 }, "index -1"},
		{"group and instances", func(c *Config) { c.Group, c.Instances = "g", 2 }, "exclude each other"},
		{"snapshot interval", func(c *Config) { c.SnapshotInterval = 0 }, "snapshot interval 0s"},
		{"rare snapshots", func(c *Config) { c.SnapshotInterval = time.Minute }, "snapshot interval 1m"},
		{"metadata interval", func(c *Config) { c.MetadataInterval = 0 }, "metadata interval"},
		{"shutdown timeout", func(c *Config) { c.ShutdownTimeout = 0 }, "shutdown timeout"},
		{"replicas", func(c *Config) { c.LedgerReplicas = -1 }, "-1 ledger replicas"},
	} {
		cfg := good
		test.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if _, err := New(cfg, Deps{Logger: slog.Default()}); err == nil {
			t.Errorf("%s: New takes it", test.name)
		}
	}
	bad := Config{Instances: -1, LedgerReplicas: -1}
	for _, want := range []string{"test id", "consumer id", "instances", "snapshot interval", "ledger replicas"} {
		if err := bad.Validate(); !strings.Contains(err.Error(), want) {
			t.Errorf("not all mistakes at once: %v", err)
		}
	}
}

// Every record is in one window: a closed one in the ledger or the state's
// open one.
func TestWindows(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 2)
	tr := newTraffic(t, opts, "orders", 1)
	c := start(t, opts, testConfig("c", "orders"))
	closed := map[string]*ledger.WindowEntry{}
	for len(closed) < 4 {
		tr.send(50, 2, true)
		caughtUp(t, opts, "orders")
		r, err := ledger.NewReader(ledger.ReaderConfig{Opts: opts, Topic: ledger.DestinationTopic, Test: testID, Kinds: []string{ledger.KindWindow}})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ReadToEnd(deadline(t), func(e ledger.Entry) error {
			var w ledger.WindowEntry
			if err := ledger.Decode(e.Payload, &w); err != nil {
				return err
			}
			if e.Key != w.Key(testID) {
				t.Errorf("key %s of window %s", e.Key, w.Key(testID))
			}
			closed[e.Key.Name] = &w
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	for _, p := range c.owned() {
		p.storing.Lock()
		if len(p.windows) > 0 {
			t.Errorf("%s: %d windows wait to be stored", p.topicPartition, len(p.windows))
		}
		p.storing.Unlock()
	}
	c.stop()
	states := expectExact(t, opts, "orders")
	for p, s := range states {
		w := s.Window
		for _, e := range closed {
			if e.Partition == p {
				w.Records, w.First, w.Bytes = w.Records+e.Window.Records, w.First+e.Window.First, w.Bytes+e.Window.Bytes
			}
		}
		if w.Records != s.Records || w.Bytes != s.Bytes || w.First == 0 {
			t.Errorf("partition %d: %d records and %d bytes in windows, %d and %d read", p, w.Records, w.Bytes, s.Records, s.Bytes)
		}
	}
}

// Snapshots get rarer when they would take more than a hundredth of the load,
// but not without bound.
func TestPace(t *testing.T) {
	c := &Consumer{cfg: Config{SnapshotInterval: time.Second}}
	for _, test := range []struct {
		stored int
		load   float64
		want   time.Duration
	}{
		{0, 0, time.Second},
		{10_000, 0, time.Second},
		{64 << 10, 0, time.Second},
		{128 << 10, 0, 2 * time.Second},
		{1_000_000, 100e6, time.Second},
		{3_000_000, 100e6, 3 * time.Second},
		{100_000_000, 100e6, 10 * time.Second},
	} {
		if got := c.pace(test.stored, test.load); got != test.want {
			t.Errorf("%d bytes at %.0f B/s: %s, want %s", test.stored, test.load, got, test.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, "orders", 2)
	tr := newTraffic(t, opts, "orders", 1)
	tr.send(1000, 2, true)
	c := start(t, opts, testConfig("c", "orders"))
	caughtUp(t, opts, "orders")
	tr.send(100, 2, false)
	caughtUp(t, opts, "orders")
	want := &naive{Kinds: map[message.Kind]uint64{}}
	for _, n := range readLog(t, opts, "orders") {
		want.Records += n.Records
		want.Bytes += n.Bytes
		want.Duplicate += n.Duplicate
		want.Reordered += n.Reordered
		want.Misplaced += n.Misplaced
		want.Replays += n.Replays
		for k, v := range n.Kinds {
			want.Kinds[k] += v
		}
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c.metrics); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				if l.GetName() != "topic" {
					name += "/" + l.GetValue()
				}
			}
			switch {
			case m.Histogram != nil:
				got[name] = float64(m.Histogram.GetSampleCount())
			case m.Counter != nil:
				got[name] = m.Counter.GetValue()
			default:
				got[name] = m.Gauge.GetValue()
			}
		}
	}
	expected := map[string]float64{
		"kmt_consumer_records_total": float64(want.Records), "kmt_consumer_bytes_total": float64(want.Bytes), "kmt_consumer_duplicates_total": float64(want.Duplicate),
		"kmt_consumer_reordered_total": float64(want.Reordered), "kmt_consumer_misplaced_total": float64(want.Misplaced), "kmt_consumer_replays_total": float64(want.Replays),
		"kmt_consumer_partitions": 2, "kmt_consumer_streams": 4, "kmt_consumer_lag_records": 0, "kmt_consumer_unobserved_total": 0,
		// What lay there before the consumer began says nothing about the replicator.
		"kmt_consumer_latency_seconds": 100,
	}
	first := want.Records - want.Duplicate
	for k, v := range want.Kinds {
		expected["kmt_consumer_rejected_total/"+k.String()] = float64(v)
		first -= v
	}
	expected["kmt_consumer_first_total"] = float64(first)
	for name, v := range expected {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if got["kmt_ledger_bytes_total"] == 0 || got["kmt_ledger_interval_seconds"] == 0 {
		t.Errorf("ledger metrics: %v", got)
	}
	c.stop()
}
