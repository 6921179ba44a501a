package consume

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// durable is a cluster that can be stopped and started again, and whose
// partitions can lose what was written last, as after an unclean election.
type durable struct {
	t     testing.TB
	dir   string
	ports []int
	opts  []kgo.Opt
	*kfake.Cluster
}

func startDurable(t testing.TB) *durable {
	t.Helper()
	d := &durable{t: t, dir: t.TempDir()}
	var taken []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, l)
		d.ports = append(d.ports, l.Addr().(*net.TCPAddr).Port)
		d.opts = append(d.opts, kgo.SeedBrokers(l.Addr().String()))
	}
	d.opts = []kgo.Opt{kgo.SeedBrokers(taken[0].Addr().String(), taken[1].Addr().String())}
	for _, l := range taken {
		l.Close()
	}
	d.start()
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *durable) start() {
	d.t.Helper()
	eventually(d.t, "the cluster starts", func() bool {
		var err error
		d.Cluster, err = kfake.NewCluster(kfake.NumBrokers(2), kfake.Ports(d.ports...), kfake.DataDir(filepath.Join(d.dir, "data")))
		return err == nil
	})
}

// copyLog keeps, or brings back, the partition's log.
func (d *durable) copyLog(topic string, partition int, back bool) {
	d.t.Helper()
	d.Close()
	live := filepath.Join(d.dir, "data", "partitions", fmt.Sprintf("%s-%d", topic, partition))
	kept := filepath.Join(d.dir, "kept")
	from, to := live, kept
	if back {
		from, to = kept, live
	}
	if err := os.RemoveAll(to); err != nil {
		d.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		d.t.Fatal(err)
	}
	d.start()
}

// elect makes the other broker the leader so often that its epoch is epoch.
func (d *durable) elect(topic string, epoch int32) {
	d.t.Helper()
	for i := 0; d.PartitionInfo(topic, 0).Epoch < epoch; i++ {
		if err := d.MoveTopicPartition(topic, 0, int32(i%2)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestTruncation(t *testing.T) {
	for _, test := range []struct {
		name       string
		running    bool          // the consumer runs while it happens
		snapshots  time.Duration // rare ones leave no checkpoint to go back to
		epoch      int32         // in which the records were written that get lost
		written    int           // after the truncation, before the consumer sees it
		retention  int64         // the log's start when it happens
		unobserved string
		gone       bool
	}{
		{"while running", true, 10 * time.Millisecond, 0, 0, 0, "", true},
		{"while running, of another epoch", true, 10 * time.Millisecond, 4, 0, 0, "", true},
		{"while away", false, 10 * time.Millisecond, 0, 30, 0, "", true},
		{"while away, and the log has grown past it", false, 10 * time.Millisecond, 0, 300, 0, "", true},
		{"while away, of another epoch, and the log has grown past it", false, 10 * time.Millisecond, 4, 300, 0, "", true},
		{"without a checkpoint", false, 10 * time.Second, 0, 30, 0, "", true},
		{"without a checkpoint, and the log has grown past it", false, 10 * time.Second, 4, 300, 0, "", true},
		{"without a checkpoint, after retention", false, 10 * time.Second, 0, 30, 40, " 0-39", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := startDurable(t)
			createTopic(t, d.opts, "orders", 1)
			send := func(n int) {
				tr := newTraffic(t, d.opts, "orders", uint64(n), kgo.DisableIdempotentWrite())
				tr.send(n, 1, true)
				tr.client.Close()
			}
			cfg := testConfig("c", "orders")
			cfg.SnapshotInterval = test.snapshots
			send(101)
			c := start(t, d.opts, cfg)
			records := func(n int) { // it has read, and with frequent snapshots stored, n or more
				eventually(t, "it reads", func() bool { return c.Progress().Records >= uint64(n) && c.Progress().Lag == 0 })
				if test.snapshots < time.Second {
					caughtUp(t, d.opts, "orders")
				}
			}
			records(101)
			if !test.running {
				c.crash()
			}
			d.copyLog("orders", 0, false)
			d.elect("orders", test.epoch)
			send(52)
			if !test.running {
				c = start(t, d.opts, cfg)
			}
			eventually(t, "it reads what will be lost", func() bool {
				return c.Ready() == nil && c.Progress().Lag == 0 && len(c.owned()) == 1 && c.owned()[0].streams() >= 2
			})
			if test.snapshots < time.Second {
				caughtUp(t, d.opts, "orders")
			}
			if !test.running {
				c.stop()
			}

			d.copyLog("orders", 0, true)
			d.elect("orders", test.epoch+3)
			if test.retention > 0 {
				deleteRecords(t, d.opts, "orders", 0, test.retention)
			}
			if test.written > 0 {
				send(test.written)
			}
			if !test.running {
				c = start(t, d.opts, cfg)
			}
			back := "truncated: going back to a snapshot"
			if test.snapshots > time.Second {
				back = "truncated: reading it from its start"
			}
			eventually(t, "it goes back", func() bool { return c.log.contain(back) })
			send(203)
			id := topicID(t, d.opts, "orders")
			if test.snapshots < time.Second {
				caughtUp(t, d.opts, "orders")
			} else {
				eventually(t, "it reads to the end", func() bool { return c.Ready() == nil && c.Progress().Lag == 0 && c.owned()[0].streams() >= 3 })
			}
			c.stop()
			s := expectExact(t, d.opts, "orders")[0]
			if got := describeSet(&s.Unobserved); got != test.unobserved {
				t.Errorf("unobserved:%s, want %s", got, test.unobserved)
			}
			if s.Generation != 1 {
				t.Errorf("generation %d", s.Generation)
			}
			lost := 0
			for _, g := range s.Gone {
				if g.Stream.Run == 53 {
					lost++
				}
			}
			if (lost > 0) != test.gone {
				t.Errorf("of the lost records %d streams are noted as gone, of %d", lost, len(s.Gone))
			}
			if len(bestStates(t, d.opts, "orders")) != 1 || s.TopicID != id {
				t.Error("another topic id")
			}
		})
	}
}

// Of many snapshots the ladder keeps recent and old ones.
func TestLadder(t *testing.T) {
	var l ladder
	for i := range int64(1000) {
		l.add(checkpoint{next: i, payload: []byte{1}})
		rungs := l.newest()
		if rungs[0].next != i {
			t.Fatalf("after %d the newest is %d", i, rungs[0].next)
		}
		if oldest := rungs[len(rungs)-1].next; i > 128 && (i-oldest < 64 || i-oldest > 256) {
			t.Fatalf("after %d the oldest is %d", i, oldest)
		}
	}
}
