package audit

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// sent is the ledger of a producer that has planted its control and sent one record, which was acknowledged.
func sent(id string, run uint64) *ledger.Sent {
	s := producer("t1")
	s.Producer, s.Run = id, run
	st := s.Streams[0]
	st.Stream.Run, st.Reserved, st.Next = run, 2, 2
	st.Ack(1, 0, 0)
	return s
}

// deliver has a producer send a record and a consumer tell of it.
func (p *pair) deliver(t *testing.T, id string, run uint64) {
	t.Helper()
	s := sent(id, run)
	put(t, p.source, ledger.SourceTopic, s.Key(), s)
	p.arrive(t, run)
}

func (p *pair) arrive(t *testing.T, run uint64) {
	t.Helper()
	client, err := kgo.NewClient(p.destination...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "load", Value: []byte("x")}).First()
	if err != nil {
		t.Fatal(err)
	}
	if p.state == nil {
		p.state = ledger.NewReceived("t1", "load", p.clusters[1].TopicInfo("load").TopicID, 0, "c", r.Offset, time.Now().UnixMicro())
	}
	// Without a leader epoch, by which the auditor would ask for the log once more.
	p.state.Observe(&ledger.Observation{Offset: r.Offset, LeaderEpoch: -1, Kind: message.OK, ID: message.Identity{Run: run, Sequence: 1}})
	p.state.Updated = time.Now().UnixMicro()
	put(t, p.destination, ledger.DestinationTopic, p.state.Key(), p.state)
}

// begin runs an auditor and returns when it has looked once, and kept its evidence if it is to have done so.
func (p *pair) begin(t *testing.T, a *Auditor, kept bool) (ended chan *verdict.Document, stop context.CancelFunc) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(stop)
	ended = make(chan *verdict.Document, 1)
	go func() {
		doc, err := a.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- doc
	}()
	for !a.Ready() || kept && !a.evidence.isStored() {
		if ctx.Err() != nil {
			t.Fatal("it never looked")
		}
		time.Sleep(time.Millisecond) // until the condition above
	}
	return ended, stop
}

// What the tests below start from is a verdict that holds.
func TestDelivered(t *testing.T) {
	p := newPair(t)
	p.deliver(t, "p1", 7)
	p.deliver(t, "p2", 8)
	if doc := p.verdict(t); doc.Verdict.Outcome != verdict.Holds || doc.Verdict.Total.Received != 2 {
		t.Errorf("%s: %v, %d received", doc.Verdict.Outcome, doc.Verdict.Reasons, doc.Verdict.Total.Received)
	}
}

// A cluster that the auditor is denied, or that accepts connections and never answers, does not keep it for ever: it
// cannot say.
func TestClustersThatCannotBeLookedAt(t *testing.T) {
	for _, side := range []string{"source", "destination"} {
		for _, how := range []string{"denied", "silent"} {
			t.Run(side+" "+how, func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				p.deliver(t, "p1", 7)
				var silent atomic.Bool
				opts, i := &p.source, 0
				if side == "destination" {
					opts, i = &p.destination, 1
				}
				*opts = append(slices.Clone(*opts), kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
					return &deaf{conn, &silent}, err
				}))
				a := p.auditor(t, func(c *Config) { c.GiveUp = 500 * time.Millisecond })
				ended, _ := p.begin(t, a, false)
				if how == "denied" {
					p.clusters[i].Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "load", Err: kerr.TopicAuthorizationFailed, Count: -1})
				} else {
					silent.Store(true)
				}
				a.Drain()
				select {
				case doc := <-ended:
					wantDoubt(t, doc, "could not be seen", side)
				case <-time.After(3 * time.Minute):
					t.Fatal("it goes on for ever")
				}
			})
		}
	}
}

// deaf is a connection whose answers do not come any more.
type deaf struct {
	net.Conn
	silent *atomic.Bool
}

func (d *deaf) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		if err != nil || !d.silent.Load() {
			return n, err
		}
	}
}

// A destination topic that is deleted when the test has just drained is not all right.
func TestDestinationDeletedAtTheEnd(t *testing.T) {
	p := newPair(t)
	p.deliver(t, "p1", 7)
	// Few looks, so that the topic is missed by too few of them before the end.
	a := p.auditor(t, func(c *Config) { c.Quiet, c.Interval, c.DeadAfter = time.Nanosecond, time.Second, 2*time.Second })
	ended, _ := p.begin(t, a, false)
	if err := p.clusters[1].DeleteTopic("load"); err != nil {
		t.Fatal(err)
	}
	a.Drain()
	doc := <-ended
	if v := doc.Verdict; v.Outcome != verdict.Broken || v.Total.DestinationLost != 1 {
		t.Errorf("%s: %v, %d lost at the destination", v.Outcome, v.Reasons, v.Total.DestinationLost)
	}
}

// A ledger that is deleted while no auditor looks may have held anything.
func TestLedgerDeletedBetweenTwoAuditors(t *testing.T) {
	for i, topic := range []string{ledger.SourceTopic, ledger.DestinationTopic} {
		t.Run(topic, func(t *testing.T) {
			p := newPair(t)
			p.deliver(t, "p1", 7)
			first := p.auditor(t)
			ended, kill := p.begin(t, first, true)
			kill()
			<-ended
			if err := p.clusters[i].DeleteTopic(topic); err != nil {
				t.Fatal(err)
			}
			// Those that live on write all that they know again. p1 has ended, and what it sent never came.
			if i == 0 {
				put(t, p.destination, ledger.DestinationTopic, p.state.Key(), p.emptied())
			}
			p.deliver(t, "p2", 8)
			want := map[string]string{ledger.SourceTopic: "the source ledger has lost all that it had of producer p1", ledger.DestinationTopic: "the destination ledger has lost"}[topic]
			wantDoubt(t, p.verdict(t), want)
		})
	}
}

// emptied is the partition's state as if nothing that had a stream had arrived.
func (p *pair) emptied() *ledger.Received {
	p.state.Streams = nil
	p.state.Generation++
	return p.state
}

// A consumer that found records removed cannot have seen those of a producer before it, and that the producer's clock
// is an hour ahead, or was, does not prove that it began later.
func TestClockThatIsAhead(t *testing.T) {
	const hour = int64(time.Hour / time.Microsecond)
	began := time.Now().UnixMicro()
	for _, ahead := range []int64{0, hour, -hour} {
		e := newEvidence("t1")
		e.expect([]string{"load"}, 1)
		id := [16]byte{1}
		log := map[string]topicBounds{"load": {id: id, partitions: map[int32]verdict.Bounds{0: {Start: 5, End: 5}}}}
		e.destination(log, began)
		e.source(log, began, began)
		s := sent("p1", 7)
		s.Started, s.Updated = began+ahead, began+ahead
		r := ledger.NewReceived("t1", "load", id, 0, "c", 5, began) // five were removed before it began
		e.written(ledger.Entry{Appended: began / 1000 * 1000, AppendedIsBroker: true}, s.Updated)
		e.written(ledger.Entry{Appended: began / 1000 * 1000, AppendedIsBroker: true}, r.Updated)
		e.takeSent(s)
		e.takeReceived(r)
		var cfg Config
		cfg.SetDefaults()
		v := verdict.Compute(e.input(cfg, true))
		if c := v.Total; c.Unobserved != 1 || c.Lost+c.Undelivered != 0 || v.Outcome != verdict.CannotSay {
			t.Errorf("ahead by %d us: %s: %d unobserved, %d lost, %d undelivered", ahead, v.Outcome, c.Unobserved, c.Lost, c.Undelivered)
		}
	}
}

// The order of what two auditors saw does not depend on their clocks.
func TestTimeDoesNotGoBack(t *testing.T) {
	first, second := newEvidence("t1"), newEvidence("t1")
	first.steady.base += time.Hour.Microseconds() // its clock is ahead
	key := ledger.Stream{Run: 7, Topic: "load"}
	first.come(key, 5, first.now())
	data, ok := first.encode(0)
	if !ok {
		t.Fatal("nothing to keep")
	}
	before := second.now()
	if err := second.decode(data); err != nil {
		t.Fatal(err)
	}
	if noticed := first.kept.Noticed[key][0].At; before >= noticed || second.now() <= noticed {
		t.Errorf("noticed at %d; after it was read it is %d, and was %d before", noticed, second.now(), before)
	}
}

// A source topic that was made anew holds nothing where it was, however long it is.
func TestSourceMadeAnew(t *testing.T) {
	tp := verdict.TopicPartition{Topic: "load"}
	look := func(e *evidence, id byte, end int64) {
		e.source(map[string]topicBounds{"load": {id: [16]byte{id}, partitions: map[int32]verdict.Bounds{0: {End: end}}}}, 1, 2)
	}
	e := newEvidence("t1")
	look(e, 1, 10)
	look(e, 1, 20)
	if _, cut := e.kept.Cuts[tp]; cut {
		t.Fatal("a log that grows was cut: the test cannot tell")
	}
	data, _ := e.encode(0)
	look(e, 2, 30)
	if at, cut := e.kept.Cuts[tp]; !cut || at != 0 {
		t.Errorf("cut at %d: %t", at, cut)
	}
	next := newEvidence("t1") // an auditor that was not there when it happened
	if err := next.decode(data); err != nil {
		t.Fatal(err)
	}
	look(next, 2, 30)
	if at, cut := next.kept.Cuts[tp]; !cut || at != 0 {
		t.Errorf("the next auditor: cut at %d: %t", at, cut)
	}
}

// What another test, and another run of the same producer, have written into a ledger is told apart.
func TestLedgerOfAnotherRun(t *testing.T) {
	p := newPair(t)
	p.deliver(t, "p1", 7)
	s := sent("p1", 9) // an earlier run with the same test id, of which nothing has arrived
	s.Started -= time.Hour.Microseconds()
	put(t, p.source, ledger.SourceTopic, s.Key(), s)
	other := sent("p1", 11)
	other.Test = "t2"
	put(t, p.source, ledger.SourceTopic, other.Key(), other)
	doc := p.verdict(t)
	if v := doc.Verdict; v.Outcome != verdict.Broken || v.Total.Expected != 2 || v.Total.Lost+v.Total.Undelivered != 1 || len(v.Producers) != 2 {
		t.Errorf("%s: %v, %+v", v.Outcome, v.Reasons, v.Total)
	}
	if !strings.Contains(strings.Join(doc.Verdict.Reasons, "\n"), "lost") {
		t.Errorf("reasons: %v", doc.Verdict.Reasons)
	}
}
