package produce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
)

// wire is all the connections of one producer. At a chosen produce request they
// are cut, once and for all, as kill -9 would: before the request leaves, or
// when it was answered and the answer has not been read.
type wire struct {
	topic string // of the request
	id    func() [16]byte
	nth   int
	after bool
	hold  time.Duration // of the request, before the cut

	mu    sync.Mutex
	seen  int
	cut   bool
	conns []net.Conn
	dead  chan struct{}
}

var errCut = errors.New("cut by the test")

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		conn.Close()
		return nil, errCut
	}
	w.conns = append(w.conns, conn)
	return &cutConn{Conn: conn, w: w}, nil
}

func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return
	}
	w.cut = true
	for _, conn := range w.conns {
		conn.Close()
	}
	close(w.dead)
}

// due says whether this request is the one.
func (w *wire) due(frame []byte) bool {
	if int16(binary.BigEndian.Uint16(frame[4:])) != int16(kmsg.Produce) {
		return false
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version = int16(binary.BigEndian.Uint16(frame[6:]))
	body := frame[12:]
	if n := int16(binary.BigEndian.Uint16(body)); n > 0 {
		body = body[n:]
	}
	body = body[2:]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := req.ReadFrom(body); err != nil {
		panic(err)
	}
	if !isFor(req, w.topic, w.id()) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	return w.seen == w.nth
}

type cutConn struct {
	net.Conn
	w *wire

	mu      sync.Mutex
	waiting uint32 // correlation id of the request whose answer is not to be read
	waits   bool
	unread  []byte
}

func (c *cutConn) Write(frame []byte) (int, error) {
	if c.w.due(frame) {
		if !c.w.after {
			// The other connections have time to do what they must not do before
			// this request is answered.
			time.Sleep(c.w.hold)
			c.w.kill()
			return 0, errCut
		}
		c.mu.Lock()
		c.waiting, c.waits = binary.BigEndian.Uint32(frame[8:]), true
		c.mu.Unlock()
	}
	return c.Conn.Write(frame)
}

func (c *cutConn) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head))
		if _, err := io.ReadFull(c.Conn, body); err != nil {
			return 0, err
		}
		c.mu.Lock()
		kill := c.waits && binary.BigEndian.Uint32(body) == c.waiting
		c.mu.Unlock()
		if kill {
			c.w.kill()
			return 0, errCut
		}
		c.unread = append(head, body...)
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// Wherever a producer dies between reserving, sending, the acknowledgement and
// storing it, what was reserved covers what is in the log, and what the ledger
// calls acknowledged is there.
func TestCrash(t *testing.T) {
	for _, topic := range []string{ledger.SourceTopic, "orders"} {
		for _, after := range []bool{false, true} {
			for _, nth := range []int{1, 2, 3, 7} {
				t.Run(fmt.Sprintf("%s, request %d, after %t", topic, nth, after), func(t *testing.T) {
					crash(t, topic, nth, after)
				})
			}
		}
	}
}

func crash(t *testing.T, topic string, nth int, after bool) {
	c := newCluster(t, kfake.SeedTopics(3, "orders"))
	known := sync.OnceValue(func() [16]byte { return c.TopicInfo(topic).TopicID })
	w := &wire{topic: topic, nth: nth, after: after, hold: 30 * time.Millisecond, dead: make(chan struct{}), id: known}
	cfg := testConfig("orders")
	cfg.Throughput, cfg.ShutdownTimeout = unlimited, 50*time.Millisecond
	cfg.MaxBuffered = 1000 * (200 + recordOverhead)
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(w.dial))
	// So little that every record is at the edge of what is reserved.
	p.reserve = reserve{least: 20}
	l := launch(t, p, out)
	select {
	case <-w.dead:
	case err := <-l.done:
		t.Fatalf("ended before the crash: %v", err)
	case <-time.After(patience):
		t.Fatal("the request never came")
	}
	if err := l.stopAndWait(); err == nil {
		t.Error("no error, and the ledger cannot have been closed")
	}

	log := readLog(t, c, "orders")
	snapshots, _ := ledgerOf(t, c)
	if len(snapshots) == 0 {
		if n := len(flat(log)); n > 0 {
			t.Fatalf("%d records were sent and nothing is reserved", n)
		}
		if topic != ledger.SourceTopic || nth > 1 {
			t.Fatal("there is no ledger")
		}
		return
	}
	sent := snapshots[len(snapshots)-1]
	if sent.Closed {
		t.Error("the ledger is closed")
	}
	present := map[ledger.Stream]*intervals.Set{}
	reserved := map[ledger.Stream]uint64{}
	for _, s := range sent.Streams {
		present[s.Stream], reserved[s.Stream] = &intervals.Set{}, s.Reserved
	}
	for _, r := range flat(log) {
		key := ledger.Stream{Run: r.Run, Topic: "orders", Epoch: r.Epoch, Partition: r.Partition}
		if r.Sequence >= reserved[key] {
			t.Fatalf("%v: sequence %d is in the log, and %d are reserved", key, r.Sequence, reserved[key])
		}
		present[key].Add(r.Sequence)
	}
	for _, s := range sent.Streams {
		if lost := s.Acked.Minus(present[s.Stream]); !lost.Empty() {
			t.Errorf("%v: acknowledged and not in the log: %v", s.Stream, lost.Ranges(5))
		}
		for reason, failed := range s.Failed {
			t.Errorf("%v: %s: %v", s.Stream, reason, failed.Ranges(5))
		}
	}
	if topic == "orders" && (nth > 1 || after) && len(flat(log)) == 0 {
		t.Error("nothing was sent before the crash")
	}
}
