//go:build soak

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// make soak ARGS='--duration 5m --seed 7 --report DIR'
var (
	soakFor    = flag.Duration("duration", time.Hour, "for how long the soak test breaks things")
	soakSeed   = flag.Uint64("seed", 0, "what decides on the soak test's faults; 0: a new one")
	soakReport = flag.String("report", "", "directory of the soak test's soak.json, verdict and logs; empty: one that is removed")
)

// Load of the soak test: enough for a loss to be seen, and little enough for the oracle to hold an hour of it in
// memory.
const (
	soakTopic    = "soak"
	soakTools    = 2 // producers, and consumers: the first of each is killed now and then, the others never
	soakRate     = 150
	soakSize     = 200
	sampleEvery  = 2 * time.Second
	maxLedgerLog = 128 << 20 // bytes of a broker's copy of a ledger: compaction leaves two segments of 32 MiB alone
)

// TestSoak breaks the load tools, the brokers that keep the ledgers and the network at random, on real Kafka, while our
// own mirror plants losses and duplicates. In the end the verdict must be what the oracle reads in both raw logs, in
// which retention has removed nothing, no ledger may have forgotten anything, and no load tool may have grown.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.start()
	over := time.After(*soakFor)
	begun := time.Now()
	var lanes sync.WaitGroup
	for i, lane := range []func(chance){
		func(c chance) { s.breakCluster(c, s.lab.Source) },
		func(c chance) { s.breakCluster(c, s.lab.Destination) },
		s.breakOcean, s.breakTools, s.breakTools,
	} {
		lanes.Go(func() { lane(chance{rand.New(rand.NewPCG(s.seed, uint64(i)))}) })
	}
	select {
	case <-over:
	case <-s.lab.sup.failed.Done():
		t.Errorf("the lab failed: %v", context.Cause(s.lab.sup.failed))
	}
	close(s.over)
	lanes.Wait()
	s.report.Duration = scenario.Duration(time.Since(begun).Round(time.Second))
	doc := s.drain()
	s.judge(doc)
}

// soakResult is what soak.json has.
type soakResult struct {
	Seed      uint64            `json:"seed"`
	Duration  scenario.Duration `json:"duration"`
	Faults    map[string]int    `json:"faults"`
	NotPlayed string            `json:"not_played,omitempty"` // kinds of faults, and why
	// Planted are the losses and duplicates that the mirror made, those that its restarts have mended among them, and
	// what the destination refused.
	Planted     map[string]int `json:"planted"`
	Outcome     string         `json:"outcome"`
	Truth       oracle.Counts  `json:"truth"`
	Differences []string       `json:"differences"` // of verdict and truth
	Ledgers     []string       `json:"ledgers"`     // what they have forgotten
	LedgerBytes int64          `json:"ledger_bytes"`
	Growth      []growth       `json:"growth"`
	Mistakes    []string       `json:"mistakes"`
}

// chance decides for one lane, so that what one does depends on the seed alone, and on no other's speed.
type chance struct{ *rand.Rand }

func (c chance) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.Int64N(int64(to-from)))
}

type soak struct {
	t       *testing.T
	lab     *Lab
	base    scenario.Config
	seed    uint64
	ctx     context.Context
	over    chan struct{} // closed when nothing is to be broken any more
	begun   time.Time
	tools   []*keeper
	auditor *keeper
	mirrors *mirrorKeeper
	watched [2]*watchedLedger

	mu     sync.Mutex
	report soakResult
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, seed: *soakSeed, over: make(chan struct{}), report: soakResult{Faults: map[string]int{}, Planted: map[string]int{}, Differences: []string{}, Ledgers: []string{}}}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1 << 32)
	}
	s.report.Seed = s.seed
	t.Logf("seed %d: make soak ARGS='--duration %s --seed %d' breaks the same again", s.seed, *soakFor, s.seed)
	if *soakFor < time.Minute {
		t.Fatalf("--duration %s: use at least 1m, so that growth can be told from the start", *soakFor)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Ocean, cfg.Delay, cfg.DrainIdle = OceanAuto, 5*time.Millisecond, 30*time.Second
	cfg.StartTimeout = 10 * time.Minute // whatever else the machine does
	cfg.Output = filepath.Join(t.TempDir(), "report")
	if *soakReport != "" {
		cfg.Output = *soakReport
	}
	cfg.LoadgenBinary = loadgen(t)
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	s.must(err)
	s.lab = l
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor+30*time.Minute)
	s.ctx = ctx
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			l.keepLogs.Store(true)
		}
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		for _, k := range s.tools {
			k.wait()
		}
		waitNoLeftovers(t, l.work.path)
	})
	return s
}

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// start starts clusters, tools and mirror, and returns when everything works.
func (s *soak) start() {
	l := s.lab
	base := small()
	base.setTopics(soakTopic)
	base.TestID = "soak"
	base.Source.ReplicationFactor, base.Source.MinInsyncReplicas = 3, 2
	base.Source.Producers, base.Destination.Consumers = soakTools, soakTools
	base.Source.Throughput.PerSecond, base.Source.MessageSize = soakRate, soakSize
	// The raw logs are the lossless copy in which the oracle reads the truth.
	day := scenario.Duration(24 * time.Hour)
	base.Source.Retention, base.Destination.Retention = day, day
	base.Destination.Replicator = scenario.NoReplicator
	s.base = base.Config
	s.must(l.Check([]scenario.Config{s.base}))
	l.turnTo(s.base)
	s.must(l.prepare(s.ctx))
	s.must(l.startClusters(s.ctx))
	for _, c := range []*Cluster{l.Source, l.Destination} {
		s.must(c.applyTopics(s.ctx, []string{soakTopic}, 6, makeTopics))
	}
	s.must(l.writeSettings(s.base))
	if err := l.Provides(scenario.FeatureOcean); err != nil {
		s.report.NotPlayed = fmt.Sprintf("partitions: %v", err)
	}
	s.begun = time.Now()
	s.mirrors = s.keepMirror()
	for i := range soakTools {
		s.tools = append(s.tools,
			s.keep(Source, fmt.Sprintf("producer %d", i), metrics.ProducerPort, i == 0, nil, l.producerArgs(s.base.Source, i)),
			s.keep(Destination, fmt.Sprintf("consumer %d", i), metrics.ConsumerPort, i == 0, nil, l.consumerArgs(i, soakTools)))
	}
	s.auditor = s.keep(Destination, "auditor", metrics.AuditorPort, true, io.Discard, l.auditorArgs(s.base))
	s.tools = append(s.tools, s.auditor)
	for _, k := range s.tools {
		s.must(await(s.ctx, l.cfg.StartTimeout, k.name, func(ctx context.Context) error { return k.call(ctx, http.MethodGet, "/readyz", nil) }))
	}
	s.watched = [2]*watchedLedger{s.watch(l.Source, ledger.SourceTopic), s.watch(l.Destination, ledger.DestinationTopic)}
}

// keeper keeps a load tool alive, as Kubernetes does a container: it is started again whenever it has ended.
type keeper struct {
	name   string
	side   string
	mortal bool
	seat   seat
	ended  chan struct{}

	mu      sync.Mutex
	proc    *process
	series  [][]sample // of each life
	restart bool
}

func (s *soak) keep(side, name string, port int, mortal bool, tee io.Writer, args []string) *keeper {
	at, err := s.lab.net.place(side, strings.ReplaceAll(name, " ", "-"), port)
	s.must(err)
	k := &keeper{name: name, side: side, mortal: mortal, seat: at, ended: make(chan struct{}), restart: true}
	run := func() (*process, error) {
		// That it ends is what this test is about: one that ends by itself is started again, and has to be right.
		return s.lab.sup.start(command{name: name, argv: s.lab.toolArgv(side, at, args), tee: tee, in: at.start(), unasked: func(*process) {}})
	}
	proc, err := run()
	s.must(err)
	k.proc, k.series = proc, [][]sample{nil}
	go func() {
		defer close(k.ended)
		sampling := time.NewTicker(sampleEvery)
		defer sampling.Stop()
		for {
			select {
			case <-sampling.C:
				k.sample(s.begun)
				continue
			case <-proc.done:
			case <-s.ctx.Done():
				return
			}
			k.mu.Lock()
			again := k.restart
			k.mu.Unlock()
			if !again {
				return
			}
			select {
			case <-time.After(300 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			if proc, err = run(); err != nil {
				return // the lab has stopped
			}
			k.mu.Lock()
			k.proc, k.series = proc, append(k.series, nil)
			k.mu.Unlock()
		}
	}()
	return k
}

func (k *keeper) process() *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.proc
}

// last has the tool not started again.
func (k *keeper) last() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.restart = false
}

func (k *keeper) wait() { <-k.ended }

func (k *keeper) call(ctx context.Context, method, path string, answer any) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	return request(ctx, client, method, "http://"+k.seat.listen()+path, nil, answer)
}

// sample takes in how large the tool is now. One that does not answer, since it is stopped or cut off, tells less.
func (k *keeper) sample(begun time.Time) {
	p := k.process()
	x := sample{At: time.Since(begun).Seconds(), Values: map[string]float64{}}
	dir := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	if fds, err := os.ReadDir(dir + "/fd"); err == nil {
		x.Values[openFiles] = float64(len(fds))
	}
	if status, err := os.ReadFile(dir + "/status"); err == nil {
		if kB, ok := field(status, "VmRSS:"); ok {
			x.Values[memory] = kB * 1024
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var text []byte
	if k.call(ctx, http.MethodGet, "/metrics", &text) == nil {
		if n, ok := field(text, "go_goroutines"); ok {
			x.Values[goroutines] = n
		}
	}
	if info, err := os.Stat(p.log); err == nil {
		x.Values[disk] = float64(info.Size())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc == p && len(x.Values) > 0 {
		k.series[len(k.series)-1] = append(k.series[len(k.series)-1], x)
	}
}

// field returns the number behind a word at the start of a line.
func field(text []byte, word string) (float64, bool) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == word {
			n, err := strconv.ParseFloat(words[1], 64)
			return n, err == nil
		}
	}
	return 0, false
}

func (s *soak) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Faults[kind]++
}

// pause returns false when nothing is to be broken any more.
func (s *soak) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.over:
		return false
	case <-s.ctx.Done():
		return false
	}
}

// each kind comes once before any comes again, so that short runs see all of them.
func (s *soak) shuffled(c chance, kinds []string, play func(kind string) error) {
	for {
		for _, i := range c.Perm(len(kinds)) {
			if !s.pause(c.between(time.Second, 4*time.Second)) {
				return
			}
			if err := play(kinds[i]); err != nil && s.ctx.Err() == nil && s.lab.sup.failed.Err() == nil {
				s.t.Errorf("%s: %v", kinds[i], err)
				return
			}
		}
	}
}

// breakCluster has one broker after another go and return.
func (s *soak) breakCluster(c chance, of *Cluster) {
	kinds := []string{"broker-kill", "broker-pause", "broker-restart"}
	if s.report.NotPlayed == "" {
		kinds = append(kinds, "broker-partition")
	}
	s.shuffled(c, kinds, func(kind string) error {
		victim, hold := c.IntN(len(of.members())), c.between(2*time.Second, 12*time.Second)
		s.count(kind + " " + of.side)
		if kind == "broker-restart" {
			b, err := of.broker(victim)
			if err != nil {
				return err
			}
			return of.restart(s.ctx, b)
		}
		p, err := s.lab.play(of.side, scenario.Fault{Kind: kind, Victims: []int{victim}})
		if err != nil {
			return err
		}
		if err := p.strike(s.ctx); err != nil {
			return err
		}
		s.pause(hold)
		return p.mend(s.ctx)
	})
}

// breakOcean cuts the clusters off from each other, and kills the mirror between them.
func (s *soak) breakOcean(c chance) {
	kinds := []string{"mirror-kill"}
	if s.report.NotPlayed == "" {
		kinds = append(kinds, "region-partition")
	}
	s.shuffled(c, kinds, func(kind string) error {
		hold := c.between(2*time.Second, 8*time.Second)
		s.count(kind)
		if kind == "mirror-kill" {
			s.mirrors.kill()
			return nil
		}
		if err := s.lab.net.disturb(Source, ocean.Link{Partition: true}); err != nil {
			return err
		}
		s.pause(hold)
		return s.lab.net.disturb(Source, ocean.Link{})
	})
}

// breakTools kills, stops and cuts off load tools.
func (s *soak) breakTools(c chance) {
	kinds := []string{"kill", "kill", "pause"}
	if s.report.NotPlayed == "" {
		kinds = append(kinds, "partition")
	}
	s.shuffled(c, kinds, func(kind string) error {
		k := s.tools[c.IntN(len(s.tools))]
		hold := c.between(time.Second, 8*time.Second)
		if c.IntN(6) == 0 {
			hold += 20 * time.Second // long enough to be taken for dead
		}
		what, _, _ := strings.Cut(k.name, " ")
		p := k.process()
		// The auditor lives on from a third of the time, to see it grow if it does.
		if k == s.auditor && time.Since(s.begun) > *soakFor/3 || !k.mortal {
			if kind == "kill" {
				kind = "pause"
			}
		}
		s.count(what + "-" + kind)
		switch kind {
		case "kill":
			p.kill()
		case "pause":
			if p.freeze() == nil { // else it has just ended
				s.pause(hold)
				_ = p.thaw()
			}
		case "partition":
			if err := s.lab.net.disturbOne(k.seat, ocean.Link{Partition: true}); err != nil {
				return err
			}
			s.pause(hold)
			return s.lab.net.disturbOne(k.seat, ocean.Link{})
		}
		return nil
	})
}

// mirrorKeeper keeps our own mirror running, which is killed as a process is: it ends at once, and stores nothing.
type mirrorKeeper struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	mirrors []*mirror.Mirror
	ended   chan struct{}
}

func (m *mirrorKeeper) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel()
}

func (s *soak) keepMirror() *mirrorKeeper {
	var c mirror.Config
	c.SetDefaults()
	c.Topics, c.ShutdownTimeout = []string{soakTopic}, 0
	for _, kind := range []string{mirror.Drop, mirror.Duplicate} {
		f := mirror.FaultConfig{Kind: kind}
		f.SetDefaults()
		f.Seed, f.Probability = s.seed, 0.0005
		c.Faults = append(c.Faults, f)
	}
	k := &mirrorKeeper{cancel: func() {}, ended: make(chan struct{})}
	go func() {
		defer close(k.ended)
		for s.ctx.Err() == nil {
			m, err := mirror.New(c, mirror.Deps{
				Source: s.lab.Source.Options(),
				// A broker may be away for longer than the lab's own clients wait: the mirror must not lose for that.
				Destination: append(s.lab.Destination.Options(), kgo.RecordDeliveryTimeout(0)),
				Logger:      slog.New(slog.DiscardHandler),
			})
			if err != nil {
				s.t.Error(err)
				return
			}
			ctx, cancel := context.WithCancel(s.ctx)
			k.mu.Lock()
			k.cancel, k.mirrors = cancel, append(k.mirrors, m)
			k.mu.Unlock()
			_ = m.Run(ctx) // it gives up where it is started in the midst of trouble
			cancel()
			select {
			case <-time.After(200 * time.Millisecond):
			case <-s.ctx.Done():
			}
		}
	}()
	return k
}

// watchedLedger is what a ledger has said so far. It may never say less.
type watchedLedger struct {
	of    *Cluster
	topic string

	mu       sync.Mutex
	acked    map[ledger.Stream]*intervals.Set
	received map[string]*ledger.Received // by topic id, partition and writer
	said     []string
}

func (s *soak) watch(of *Cluster, topic string) *watchedLedger {
	w := &watchedLedger{of: of, topic: topic, acked: map[ledger.Stream]*intervals.Set{}, received: map[string]*ledger.Received{}}
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: of.Options(), Topic: topic, Test: s.base.TestID})
	s.must(err)
	go func() {
		defer reader.Close()
		for s.pause(time.Second) {
			ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
			err := reader.ReadToEnd(ctx, w.take)
			cancel()
			if errors.Is(err, ledger.ErrReplaced) {
				w.say("%s: %v", topic, err)
			}
		}
	}()
	return w
}

func (w *watchedLedger) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func (w *watchedLedger) take(e ledger.Entry) error {
	switch e.Key.Kind {
	case ledger.KindSent:
		var sent ledger.Sent
		if err := ledger.Decode(e.Payload, &sent); err != nil {
			return err
		}
		for _, st := range sent.Streams {
			w.mu.Lock()
			before := w.acked[st.Stream]
			w.acked[st.Stream] = &st.Acked
			w.mu.Unlock()
			if before == nil {
				continue
			}
			if gone := before.Minus(&st.Acked); !gone.Empty() {
				w.say("%s at offset %d: %s: acknowledged before, and not any more: %v", w.topic, e.Offset, e.Key, gone.Ranges(4))
			}
		}
	case ledger.KindReceived:
		r, err := ledger.Restore(e.Payload)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%x/%d/%s", r.TopicID, r.Partition, r.Writer)
		w.mu.Lock()
		before := w.received[key]
		w.received[key] = r
		w.mu.Unlock()
		if before != nil && !r.Covers(before) {
			w.say("%s at offset %d: %s: arrived before, and not any more", w.topic, e.Offset, e.Key)
		}
	}
	return nil
}

// atEnd reads the whole ledger, as compaction has left it, and returns all that it has forgotten.
func (w *watchedLedger) atEnd(ctx context.Context, test string) ([]string, error) {
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: w.of.Options(), Topic: w.topic, Test: test})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	fresh := &watchedLedger{of: w.of, topic: w.topic, acked: map[ledger.Stream]*intervals.Set{}, received: map[string]*ledger.Received{}}
	if err := reader.ReadToEnd(ctx, fresh.take); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	said := append(slices.Clone(w.said), fresh.said...)
	for stream, before := range w.acked {
		now := fresh.acked[stream]
		if now == nil {
			now = &intervals.Set{}
		}
		if gone := before.Minus(now); !gone.Empty() {
			said = append(said, fmt.Sprintf("%s: in the end it does not know that of %+v were acknowledged %v", w.topic, stream, gone.Ranges(4)))
		}
	}
	for key, before := range w.received {
		if now := fresh.received[key]; now == nil || !now.Covers(before) {
			said = append(said, fmt.Sprintf("%s: in the end it does not know what had arrived at %s", w.topic, key))
		}
	}
	if len(w.acked)+len(w.received) == 0 {
		said = append(said, w.topic+": nothing was ever read of it: the test cannot tell")
	}
	return said, nil
}

// drain ends the load and has the auditor come to its verdict.
func (s *soak) drain() *verdict.Document {
	for _, k := range s.tools {
		if strings.HasPrefix(k.name, "producer") {
			// One that is just being started could be missed by a signal.
			s.must(await(s.ctx, s.lab.cfg.StartTimeout, k.name, func(ctx context.Context) error { return k.call(ctx, http.MethodGet, "/readyz", nil) }))
			k.last()
			k.process().signal(syscall.SIGTERM)
			k.wait()
		}
	}
	s.awaitMirror()
	s.must(await(s.ctx, s.lab.cfg.StartTimeout, "auditor", func(ctx context.Context) error { return s.auditor.call(ctx, http.MethodGet, "/readyz", nil) }))
	s.auditor.last()
	s.must(s.auditor.call(s.ctx, http.MethodPost, "/drain", nil))
	select {
	case <-s.auditor.ended:
	case <-time.After(10 * time.Minute):
		s.t.Fatal("no verdict within 10 min")
	}
	doc, err := readVerdict(filepath.Join(s.lab.cfg.Output, "verdict.json"))
	s.must(err)
	return doc
}

// awaitMirror waits until the mirror has dealt with everything.
func (s *soak) awaitMirror() {
	source, destination := kadm.NewClient(s.lab.Source.client), kadm.NewClient(s.lab.Destination.client)
	s.must(await(s.ctx, 5*time.Minute, "the mirror to catch up", func(ctx context.Context) error {
		ends, err := source.ListEndOffsets(ctx, soakTopic)
		if err != nil {
			return err
		}
		stored, err := destination.FetchOffsets(ctx, "kmt-mirror")
		if err != nil {
			return err
		}
		ends.Each(func(o kadm.ListedOffset) {
			if at, ok := stored.Lookup(o.Topic, o.Partition); o.Offset > 0 && (!ok || at.At < o.Offset) {
				err = fmt.Errorf("partition %d: at %d of %d", o.Partition, at.At, o.Offset)
			}
		})
		return err
	}))
}

// judge holds everything against what is right, and writes the report.
func (s *soak) judge(doc *verdict.Document) {
	t, r := s.t, &s.report
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Minute)
	defer cancel()
	mistake := func(format string, args ...any) {
		r.Mistakes = append(r.Mistakes, fmt.Sprintf(format, args...))
		t.Errorf(format, args...)
	}
	truth, differences := oracletest.Compare(ctx, t, doc, s.lab.Source.Options(), s.lab.Destination.Options(), []string{soakTopic}, soakTools)
	r.Outcome, r.Truth, r.Differences = string(doc.Verdict.Outcome), truth.Total, append(r.Differences, differences...)
	for _, d := range differences {
		mistake("verdict and truth differ: %s", d)
	}
	for _, m := range s.mirrors.mirrors {
		for _, kind := range []string{mirror.Drop, mirror.Duplicate, mirror.Refused} {
			r.Planted[kind] += len(m.Truth().Of(kind))
		}
	}
	if truth.Total.Lost+truth.Total.Undelivered == 0 || truth.Total.Lost+truth.Total.Undelivered > uint64(r.Planted[mirror.Drop]) {
		mistake("%d lost and %d undelivered of %d that the mirror dropped: what is lost and was not dropped, Kafka or the test has lost", truth.Total.Lost, truth.Total.Undelivered, r.Planted[mirror.Drop])
	}
	for _, w := range s.watched {
		said, err := w.atEnd(ctx, s.base.TestID)
		s.must(err)
		r.Ledgers = append(r.Ledgers, said...)
	}
	for _, said := range r.Ledgers {
		mistake("%s", said)
	}
	for _, k := range s.tools {
		longest := slices.MaxFunc(k.series, func(a, b []sample) int { return int(span(a) - span(b)) })
		if span(longest) < (*soakFor).Seconds()/3 {
			if !k.mortal || k == s.auditor {
				mistake("%s lived for %.0f s at most: whether it grows cannot be told", k.name, span(longest))
			}
			continue
		}
		for _, g := range growths(k.name, longest) {
			r.Growth = append(r.Growth, g)
			if g.TooMuch {
				mistake("%s", g)
			}
		}
		if text, err := os.ReadFile(k.process().log); err != nil || bytes.Contains(text, []byte("panic: ")) || bytes.Contains(text, []byte("fatal error: ")) {
			mistake("%s has crashed: see %s (%v)", k.name, k.process().log, err)
		}
	}
	for _, c := range []*Cluster{s.lab.Source, s.lab.Destination} {
		for _, b := range c.members() {
			r.LedgerBytes = max(r.LedgerBytes, size(t, filepath.Join(c.data(b), "kmt-ledger-"+c.side+"-0")))
		}
	}
	if r.LedgerBytes > maxLedgerLog || r.LedgerBytes == 0 {
		mistake("a ledger takes %d bytes of a broker's disk, which must be above 0 and at most %d", r.LedgerBytes, maxLedgerLog)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	s.must(err)
	path := filepath.Join(s.lab.cfg.Output, "soak.json")
	s.must(os.WriteFile(path, append(text, '\n'), 0o644))
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, r.Faults[kind]))
	}
	t.Logf("seed %d, %s, faults: %s", r.Seed, r.Duration, strings.Join(faults, ", "))
	t.Logf("verdict %q against the truth: %d differences; %+v; planted %v", r.Outcome, len(r.Differences), r.Truth, r.Planted)
	t.Logf("ledgers: %d things forgotten, %d bytes at most", len(r.Ledgers), r.LedgerBytes)
	for _, g := range r.Growth {
		t.Log(g)
	}
	t.Logf("report: %s", path)
}

func size(t *testing.T, dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // Kafka removes files meanwhile
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return total
}
