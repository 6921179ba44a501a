//go:build soak

package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
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
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// make soak ARGS='--duration 5m --seed 7 --report DIR --plant lose-one'
var (
	soakFor    = flag.Duration("duration", time.Hour, "for how long the soak test breaks things")
	soakSeed   = flag.Uint64("seed", 0, "what decides on the soak test's faults; 0: a new one")
	soakReport = flag.String("report", "", "directory of the soak test's soak.md, soak.json, verdict and logs; empty: one that is removed")
	soakPlant  = flag.String("plant", "", "mistakes to plant in what the soak test judges by, which must make it fail: all, or names such as lose-one,grow-memory")
)

// Load of the soak test: enough for a loss to be seen, and little enough for the oracle to hold an hour of it in
// memory.
const (
	soakTopic   = "soak"
	soakTools   = 2 // producers, and consumers: the first of each is killed now and then, the others never
	soakRate    = 150
	soakSize    = 200
	sampleEvery = 2 * time.Second
)

// patience is for how long nothing may move before the soak gives up. However slow a machine is, something moves.
const patience = 10 * time.Minute

// TestSoak breaks the load tools, the brokers that keep the ledgers and the network at random, on real Kafka, while our
// own mirror plants losses and duplicates. In the end the verdict must be what the oracle reads in both raw logs, in
// which retention has removed nothing, no ledger may have forgotten anything, and no load tool may have grown.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	defer s.writeReport()
	s.took("start", s.start)
	s.took("breaking", s.breakThings)
	var doc *verdict.Document
	s.took("drain", func() { doc = s.drain() })
	s.took("judging", func() { s.judge(doc) })
}

// breakThings breaks what it can until the time is over.
func (s *soak) breakThings() {
	begun := time.Now()
	over := time.After(*soakFor)
	telling := time.NewTicker(time.Minute)
	defer telling.Stop()
	s.breaking = begun
	var lanes sync.WaitGroup
	for i, lane := range []func(chance){
		func(c chance) { s.breakCluster(c, s.lab.Source) },
		func(c chance) { s.breakCluster(c, s.lab.Destination) },
		s.breakOcean, s.breakTools, s.breakTools,
	} {
		lanes.Go(func() { lane(chance{rand.New(rand.NewPCG(s.seed, uint64(i)))}) })
	}
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-s.ctx.Done():
			done = true
		case <-telling.C:
			s.t.Logf("%s of %s: %d faults, %d records dropped by the mirror", time.Since(begun).Round(time.Second), *soakFor, s.faults(), s.mirrors.did(mirror.Drop))
		}
	}
	close(s.over)
	lanes.Wait()
	if s.ctx.Err() != nil {
		s.t.Fatalf("the lab failed: %v", context.Cause(s.ctx))
	}
}

// chance decides for one lane, so that what one does depends on the seed alone, and on no other's speed.
type chance struct{ *rand.Rand }

func (c chance) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.Int64N(int64(to-from)))
}

type soak struct {
	t     *testing.T
	lab   *Lab
	base  scenario.Config
	seed  uint64
	ctx   context.Context
	fail  context.CancelCauseFunc
	over  chan struct{} // closed when nothing is to be broken any more
	begun time.Time     // of the lives of tools
	// breaking is since when things are broken.
	breaking time.Time
	plants   []string
	tools    []*keeper
	auditor  *keeper
	mirrors  *mirrorKeeper
	watched  []*watchedLedger

	mu     sync.Mutex
	report *soakResult
}

// took plays a part of the test, and notes how long it took.
func (s *soak) took(part string, play func()) {
	begun := time.Now()
	defer func() {
		s.report.Took[part] = scenario.Duration(time.Since(begun).Round(time.Second))
		s.t.Logf("%s: %s", part, s.report.Took[part])
	}()
	play()
}

// writeReport writes what is known, also when the test ends before its end.
func (s *soak) writeReport() {
	if err := s.report.write(s.lab.cfg.Output); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("report in %s\n%s", s.lab.cfg.Output, s.report.markdown())
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, seed: *soakSeed, over: make(chan struct{}), report: newSoakResult()}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1 << 32)
	}
	s.report.Seed, s.report.Duration = s.seed, scenario.Duration(*soakFor)
	var errs []error
	if *soakFor < time.Minute {
		errs = append(errs, fmt.Errorf("--duration %s: use at least 1m, so that growth can be told from the start", *soakFor))
	}
	var err error
	if s.plants, err = parsePlants(*soakPlant); err != nil {
		errs = append(errs, err)
	}
	if left := flag.Args(); len(left) > 0 {
		errs = append(errs, fmt.Errorf("%q: no such argument: use --duration, --seed, --report and --plant", left))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: make soak ARGS='--duration %s --seed %d' breaks the same again", s.seed, *soakFor, s.seed)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Ocean, cfg.Delay, cfg.DrainIdle = OceanAuto, 5*time.Millisecond, 30*time.Second
	cfg.StartTimeout = 30 * time.Minute // whatever else the machine does
	cfg.Output = filepath.Join(t.TempDir(), "report")
	if *soakReport != "" {
		cfg.Output = *soakReport
	}
	cfg.LoadgenBinary = loadgen(t)
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	s.must(err)
	s.lab = l
	ctx, cancel := context.WithCancelCause(t.Context())
	s.ctx, s.fail = ctx, cancel
	t.Cleanup(func() {
		cancel(nil)
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
	stop := context.AfterFunc(l.sup.failed, func() { s.fail(context.Cause(l.sup.failed)) })
	s.t.Cleanup(func() { stop() })
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
		s.awaitReady(k)
	}
	s.watched = []*watchedLedger{s.watch(l.Source, ledger.SourceTopic), s.watch(l.Destination, ledger.DestinationTopic)}
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

// long says whether the tool is to live for long: the auditor does, from a third of the time on.
func (k *keeper) long(s *soak) bool { return !k.mortal || k == s.auditor }

// longest is the longest of its lives.
func (k *keeper) longest() []sample {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(slices.MaxFunc(k.series, func(a, b []sample) int { return cmp.Compare(span(a), span(b)) }))
}

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
		for of, name := range map[string]string{goroutines: "go_goroutines", heap: "go_memstats_next_gc_bytes"} {
			if n, ok := field(text, name); ok {
				x.Values[of] = n
			}
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

func (s *soak) faults() (all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.report.Faults {
		all += n
	}
	return all
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
			if err := play(kinds[i]); err != nil && s.ctx.Err() == nil {
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
		if k == s.auditor && time.Since(s.breaking) > *soakFor/3 || !k.mortal {
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

// places are the source records to which the mirror did something, in all its lives.
func (m *mirrorKeeper) places(word string) (all []mirror.Place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.mirrors {
		all = append(all, one.Truth().Of(word)...)
	}
	return all
}

func (m *mirrorKeeper) did(word string) int { return len(distinct(m.places(word))) }

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

// watchedLedger is a ledger that is read all the time.
type watchedLedger struct {
	*ledgerMemory
	of    *Cluster
	over  chan struct{}
	ended chan struct{}
}

func (s *soak) watch(of *Cluster, topic string) *watchedLedger {
	w := &watchedLedger{ledgerMemory: newLedgerMemory(topic), of: of, over: make(chan struct{}), ended: make(chan struct{})}
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: of.Options(), Topic: topic, Test: s.base.TestID})
	s.must(err)
	go func() {
		defer close(w.ended)
		defer reader.Close()
		for {
			select {
			case <-w.over:
				return
			case <-s.ctx.Done():
				return
			case <-time.After(time.Second):
			}
			ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
			err := reader.ReadToEnd(ctx, w.take)
			cancel()
			if errors.Is(err, ledger.ErrReplaced) {
				w.say(": %v", err)
			}
		}
	}()
	return w
}

// reread reads the whole ledger, as compaction has left it.
func (s *soak) reread(w *watchedLedger) *ledgerMemory {
	close(w.over)
	<-w.ended
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: w.of.Options(), Topic: w.topic, Test: s.base.TestID})
	s.must(err)
	defer reader.Close()
	fresh := newLedgerMemory(w.topic)
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.must(reader.ReadToEnd(ctx, fresh.take))
	return fresh
}

// drain ends the load and has the auditor come to its verdict. It waits for what a verdict needs, and not for a time.
func (s *soak) drain() *verdict.Document {
	s.awaitZero("a record for the mirror to drop, and one to send twice", func(context.Context) (left int64, err error) {
		for _, word := range []string{mirror.Drop, mirror.Duplicate} {
			if s.mirrors.did(word) == 0 {
				left++
			}
		}
		return left, nil
	})
	s.awaitZero("tools that have lived long enough to tell whether they grow", func(context.Context) (left int64, err error) {
		for _, k := range s.tools {
			if life := k.longest(); k.long(s) && (span(life) < wanted() || !measured(life)) {
				left += max(1, int64(wanted()-span(life)))
			}
		}
		return left, nil
	})
	for _, k := range s.tools {
		if strings.HasPrefix(k.name, "producer") {
			// One that is just being started could be missed by a signal.
			s.awaitReady(k)
			k.last()
			k.process().signal(syscall.SIGTERM)
			s.awaitEnd(k)
		}
	}
	s.awaitMirror()
	s.awaitConsumers()
	s.awaitReady(s.auditor)
	s.auditor.last()
	s.must(await(s.ctx, patience, "the auditor to drain", func(ctx context.Context) error {
		select {
		case <-s.auditor.ended: // it was told, and its answer was late
			return nil
		default:
			return s.auditor.call(ctx, http.MethodPost, "/drain", nil)
		}
	}))
	s.awaitEnd(s.auditor)
	doc, err := readVerdict(filepath.Join(s.lab.cfg.Output, "verdict.json"))
	s.must(err)
	return doc
}

// wanted is how many seconds a tool that lives long must have lived.
func wanted() float64 { return soakFor.Seconds() / 3 }

func (s *soak) awaitReady(k *keeper) {
	s.must(await(s.ctx, s.lab.cfg.StartTimeout, k.name, func(ctx context.Context) error { return k.call(ctx, http.MethodGet, "/readyz", nil) }))
}

// awaitEnd waits for the end of a tool that was told to end.
func (s *soak) awaitEnd(k *keeper) {
	select {
	case <-k.ended:
	case <-s.ctx.Done():
	case <-time.After(s.lab.cfg.DrainTimeout):
		s.t.Fatalf("%s has not ended within %s", k.name, s.lab.cfg.DrainTimeout)
	}
	if s.ctx.Err() != nil {
		s.t.Fatalf("waiting for the end of %s: %v", k.name, context.Cause(s.ctx))
	}
}

// awaitZero waits until nothing is left of something, for as long as it becomes less.
func (s *soak) awaitZero(what string, left func(context.Context) (int64, error)) {
	fewest, since := int64(math.MaxInt64), time.Now()
	for {
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		n, err := left(ctx)
		cancel()
		if err == nil && n == 0 {
			return
		}
		if err == nil && n < fewest {
			fewest, since = n, time.Now()
		}
		if time.Since(since) > patience {
			s.t.Fatalf("waiting for %s: nothing has moved for %s: %d left, %v", what, patience, fewest, err)
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("waiting for %s: %v", what, context.Cause(s.ctx))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// awaitMirror waits until the mirror has dealt with everything.
func (s *soak) awaitMirror() {
	source, destination := kadm.NewClient(s.lab.Source.client), kadm.NewClient(s.lab.Destination.client)
	s.awaitZero("the mirror to catch up", func(ctx context.Context) (left int64, err error) {
		ends, err := source.ListEndOffsets(ctx, soakTopic)
		if err = errors.Join(err, ends.Error()); err != nil {
			return 0, err
		}
		stored, err := destination.FetchOffsets(ctx, "kmt-mirror")
		if err = errors.Join(err, stored.Error()); err != nil {
			return 0, err
		}
		ends.Each(func(o kadm.ListedOffset) {
			at, _ := stored.Lookup(o.Topic, o.Partition)
			left += max(0, o.Offset-at.At)
		})
		return left, nil
	})
}

// awaitConsumers waits until the destination's ledger knows of all that lies at the destination: a consumer that is
// slow must not look like one that has not seen a record.
func (s *soak) awaitConsumers() {
	destination, known := kadm.NewClient(s.lab.Destination.client), s.watched[1]
	s.awaitZero("the consumers to catch up", func(ctx context.Context) (left int64, err error) {
		ends, err := destination.ListEndOffsets(ctx, soakTopic)
		if err = errors.Join(err, ends.Error()); err != nil {
			return 0, err
		}
		known.mu.Lock()
		defer known.mu.Unlock()
		ends.Each(func(o kadm.ListedOffset) {
			next := int64(0)
			for _, r := range known.received {
				if r.Partition == o.Partition {
					next = max(next, r.Next)
				}
			}
			left += max(0, o.Offset-next)
		})
		return left, nil
	})
}

// judge gathers the evidence, plants what is to be planted, and holds it against what is right.
func (s *soak) judge(doc *verdict.Document) {
	ctx, cancel := context.WithTimeout(s.ctx, s.lab.cfg.DrainTimeout)
	defer cancel()
	e := &evidence{
		Verdict: doc, Mirrored: map[string][]mirror.Place{}, Wanted: wanted(),
		Logs: oracletest.Read(ctx, s.t, doc.Verdict.Test, s.lab.Source.Options(), s.lab.Destination.Options(), []string{soakTopic}, soakTools),
	}
	for _, word := range []string{mirror.Drop, mirror.Duplicate, mirror.Refused} {
		e.Mirrored[word] = s.mirrors.places(word)
	}
	for _, w := range s.watched {
		e.Ledgers = append(e.Ledgers, ledgerEvidence{Before: w.ledgerMemory, After: s.reread(w)})
	}
	for _, k := range s.tools {
		tool := toolEvidence{Name: k.name, Long: k.long(s), Life: k.longest()}
		// The log is that of all its lives.
		text, err := os.ReadFile(k.process().log)
		if err != nil {
			tool.Crashed = err.Error()
		}
		for _, word := range []string{"panic: ", "fatal error: "} {
			if at := bytes.Index(text, []byte(word)); at >= 0 {
				line, _, _ := bytes.Cut(text[at:], []byte("\n"))
				tool.Crashed = fmt.Sprintf("%s, in %s", line, k.process().log)
			}
		}
		e.Tools = append(e.Tools, tool)
	}
	for _, c := range []*Cluster{s.lab.Source, s.lab.Destination} {
		for _, b := range c.members() {
			e.LedgerBytes = max(e.LedgerBytes, size(s.t, filepath.Join(c.data(b), "kmt-ledger-"+c.side+"-0")))
		}
	}
	sown, err := e.sow(s.plants)
	s.must(err)
	s.must(e.judge(s.report))
	s.report.harvest(sown)
	for _, m := range s.report.Mistakes {
		s.t.Error(m)
	}
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
