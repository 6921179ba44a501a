package produce

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

func TestSettingsFile(t *testing.T) {
	f := files{t: t, dir: t.TempDir()}
	write, file := f.write, f.path()
	write("a: {rate: 2000/s}\n'*': {rate: 50/s, size: 300}")
	c := newCluster(t, kfake.SeedTopics(1, "a", "b"))
	cfg := testConfig("a", "b")
	cfg.SettingsFile = file
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	p.reread = time.Millisecond
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	l := &life{Producer: p, t: t, done: done, log: out}
	setting := func(i int) Setting { return *p.topics[i].setting.Load() }
	if a, b := setting(0), setting(1); a != (Setting{perSecond(2000), 300}) || b != (Setting{perSecond(50), 300}) {
		t.Fatalf("a %v, b %v", a, b)
	}
	l.eventually("records of both", func() bool { return p.topics[0].counts.acked.Load() > 100 && p.topics[1].counts.acked.Load() > 1 })

	write("b: {rate: max, size: 1kB}")
	l.eventually("the new settings", func() bool {
		return setting(0) == (Setting{cfg.Throughput, cfg.MessageSize}) && setting(1) == (Setting{units.Rate{Kind: units.Unlimited}, 1000})
	})
	l.eventually("many records of b", func() bool { return p.topics[1].counts.acked.Load() > 2000 })

	// All or nothing, and the load goes on.
	for text, says := range map[string]string{
		"a: {rate: 7/s}\nb: {size: 1}": "1 B is too small",
		"a: {rate: 7/s}\na/b: {}":      `a/b`,
		"a: {rate":                     "not a list of topics",
	} {
		write(text)
		l.eventually("a word on "+text, func() bool { return strings.Contains(out.String(), says) })
		if a := setting(0); a.Rate != cfg.Throughput {
			t.Errorf("%q was applied: %v", text, a)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.eventually("a word on the missing file", func() bool { return strings.Contains(out.String(), "no such file") })
	write("a: {rate: 9/s}\nb: {rate: 1/s}")
	l.eventually("the last settings", func() bool { return setting(0).Rate == perSecond(9) && setting(1).Rate == perSecond(1) })
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
}

// files are versions of a settings file, as a mounted ConfigMap changes: what its
// name points to is replaced.
type files struct {
	t       *testing.T
	dir     string
	version int
}

func (f *files) path() string { return filepath.Join(f.dir, "load.yaml") }

func (f *files) write(text string) {
	f.t.Helper()
	f.version++
	target, link := filepath.Join(f.dir, fmt.Sprintf("v%d", f.version)), filepath.Join(f.dir, "next")
	for _, err := range []error{
		os.WriteFile(target, []byte(text), 0o600),
		os.Symlink(target, link),
		os.Rename(link, f.path()),
	} {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// A topic that the file names gets load once it exists, with a control of its
// own; one that it names no more gets nothing more, and load again when it is
// named again. What was sent in between is in the ledger.
func TestTopicsComeAndGo(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "a"))
	f := files{t: t, dir: t.TempDir()}
	f.write("a: {rate: 500/s}\n'*': {size: 300}")
	cfg := testConfig()
	cfg.SettingsFile = f.path()
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	p.reread = time.Millisecond
	l := launch(t, p, out)
	count := func(topic string) uint64 {
		for _, x := range p.all() {
			if x.name == topic {
				return x.counts.acked.Load()
			}
		}
		return 0
	}
	l.eventually("records of a", func() bool { return count("a") > 50 })

	f.write("a: {rate: 500/s}\nb: {rate: 400/s}\n'*': {size: 300}")
	l.eventually("word that b is not there", func() bool { return strings.Contains(out.String(), `\"b\" does not exist`) })
	if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "b") {
		t.Errorf("ready: %v", err)
	}
	if _, err := kadm.NewClient(client(t, c)).CreateTopics(t.Context(), 3, 1, nil, "b"); err != nil {
		t.Fatal(err)
	}
	l.eventually("records of b", func() bool { return count("b") > 50 && l.Ready() == nil })

	f.write("b: {rate: 400/s}\n'*': {size: 300}")
	l.eventually("a to pause", func() bool {
		return strings.Contains(out.String(), `nothing more is sent to a topic" producer=producer-1 topic=a`)
	})
	l.eventually("its last record", func() bool { return p.all()[0].counts.inFlight.Load() == 0 })
	paused, before := count("a"), count("b")
	l.eventually("more of b", func() bool { return count("b") > before+50 })
	if n := count("a"); n > paused+1 { // one may have been due
		t.Errorf("%d records of a after it was removed", n-paused)
	}
	paused = count("a")
	f.write("a: {rate: 500/s}\nb: {}")
	l.eventually("more of a", func() bool { return count("a") > paused+20 })
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"a": readLog(t, c, "a"), "b": readLog(t, c, "b")}, true)
	controls := map[string]int{}
	for _, s := range sent.Streams {
		if s.Control != nil {
			controls[s.Stream.Topic]++
		}
	}
	if controls["a"] != 1 || controls["b"] != 1 {
		t.Errorf("controls: %v", controls)
	}
}

// The load ends by itself at its time, with nobody there to change the file.
func TestLoadEndsByItself(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "a"))
	f := files{t: t, dir: t.TempDir()}
	until := time.Now().Add(2 * time.Second)
	f.write("a: {rate: 500/s}\n'*': {size: 300, until: " + until.Format(time.RFC3339Nano) + "}")
	cfg := testConfig()
	cfg.SettingsFile = f.path()
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	p.reread = time.Millisecond
	l := launch(t, p, out)
	l.eventually("the end of the load", func() bool {
		return strings.Contains(out.String(), `nothing more is sent to a topic" producer=producer-1 topic=a`)
	})
	if early := time.Until(until); early > 0 {
		t.Errorf("the load ended %s early", early)
	}
	l.eventually("its last record", func() bool { return p.all()[0].counts.inFlight.Load() == 0 })
	f.write("a: {rate: 500/s}\n'*': {size: 300}")
	sent := p.all()[0].counts.acked.Load()
	l.eventually("more, since it is wanted again", func() bool { return p.all()[0].counts.acked.Load() > sent+20 })
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
}

// A file that names nothing, and a wrong one, are refused at the start.
func TestSettingsFileAtTheStart(t *testing.T) {
	for text, says := range map[string]string{"": "names no topic", "'*': {rate: 5/s}": "names no topic", "a: {size: 1}": "too small", "a.b: {}\na_b: {}": "'.' and '_'"} {
		f := files{t: t, dir: t.TempDir()}
		f.write(text)
		cfg := testConfig()
		cfg.SettingsFile = f.path()
		if _, err := New(cfg, Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %s", text, err, says)
		}
	}
}

// A producer that starts while a partition has no leader begins when it has one.
func TestStartsWhileABrokerIsAway(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	var asked atomic.Int32
	c.ControlKey(kmsg.ListOffsets.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked.Add(1) > 3 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewListOffsetsResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.LeaderNotAvailable.Code
				topic.Partitions = append(topic.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	cfg := testConfig("orders")
	cfg.Records = 100
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	if err := l.wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(l.log.String(), "the load cannot start yet") {
		t.Error("the load started at once: the test shows nothing")
	}
	checkLedger(t, lastLedger(t, c), map[string][][]written{"orders": readLog(t, c, "orders")}, true)
}
