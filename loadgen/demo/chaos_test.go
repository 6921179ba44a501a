package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

const (
	// chaosRuns is how many random runs there are, with seeds from 1 on, and
	// atOnce how many of them go on at the same time: mostly they wait.
	chaosRuns = 32
	atOnce    = 6
	// KMT_CHAOS_SEED=7 runs one seed alone, with the logs of all parts;
	// KMT_CHAOS_SEED=100-200 runs those.
	seedVariable = "KMT_CHAOS_SEED"
)

// TestVerdictIsExactWhateverHappens lets real producers, consumers and the
// auditor work on embedded clusters while they are killed, frozen and
// restarted, brokers fail, partitions are added and the mirror goes wrong, and
// compares each verdict with the oracle's reading of both raw logs.
func TestVerdictIsExactWhateverHappens(t *testing.T) {
	t.Parallel()
	first, last := uint64(1), uint64(chaosRuns)
	if given := os.Getenv(seedVariable); given != "" {
		from, to, isRange := strings.Cut(given, "-")
		if !isRange {
			to = from
		}
		var err1, err2 error
		first, err1 = strconv.ParseUint(from, 10, 64)
		last, err2 = strconv.ParseUint(to, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("%s=%q: want a seed such as 7, or a range such as 100-200: %v", seedVariable, given, err)
		}
	}
	seeds := make(chan uint64)
	go func() {
		defer close(seeds)
		for seed := first; seed <= last; seed++ {
			seeds <- seed
		}
	}()
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		sum     oracle.Counts
		unclean int // lives of producers that were killed
		outcome = map[string]int{}
	)
	for range atOnce {
		workers.Go(func() {
			for seed := range seeds {
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					truth, dead := chaos(t, seed)
					mu.Lock()
					defer mu.Unlock()
					add(&sum, &truth.Total)
					unclean += dead
					outcome[truth.Outcome]++
				})
			}
		})
	}
	workers.Wait()
	t.Logf("%d runs: %v, %d producers killed; %+v", last-first+1, outcome, unclean, sum)
	if last-first+1 < chaosRuns || t.Failed() {
		return
	}
	// Chance must not have left anything out.
	for word, n := range map[string]uint64{
		"lost": sum.Lost, "duplicates": sum.Duplicates, "replays": sum.Replays, "reordered": sum.Reordered, "corrupt": sum.Corrupt,
		"misplaced": sum.Misplaced, "unsent": sum.Unsent, "killed producers": uint64(unclean),
		"verdicts that hold": uint64(outcome[string(verdict.Holds)]), "broken verdicts": uint64(outcome[string(verdict.Broken)]),
	} {
		if n == 0 {
			t.Errorf("no %s in any run: the test has lost its point", word)
		}
	}
}

func add(sum, c *oracle.Counts) {
	sum.Expected += c.Expected
	sum.Received += c.Received
	sum.Lost += c.Lost
	sum.Undelivered += c.Undelivered
	sum.Unsent += c.Unsent
	sum.Indeterminate += c.Indeterminate
	sum.Duplicates += c.Duplicates
	sum.Replays += c.Replays
	sum.Reordered += c.Reordered
	sum.Corrupt += c.Corrupt
	sum.Malformed += c.Malformed
	sum.Misplaced += c.Misplaced
	sum.Shed += c.Shed
}

// scene is one run.
type scene struct {
	t                   *testing.T
	log                 *slog.Logger
	source, destination *cluster
	partitions          int
	producers           int
	over                chan struct{} // closed when the chaos ends
}

// chance is a source of decisions of one actor, so that what another decides
// does not depend on the order in which they are asked.
type chance struct{ *rand.Rand }

func newChance(seed, actor uint64) chance { return chance{rand.New(rand.NewPCG(seed, actor))} }

func (c chance) one(in float64) bool { return c.Float64() < in }

func (c chance) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.Int64N(int64(to-from)))
}

// patient bounds what must come to pass.
const patient = 90 * time.Second

// chaos plays one run and returns what is true of it, and how many producers
// were killed.
func chaos(t *testing.T, seed uint64) (*oracle.Truth, int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dice := newChance(seed, 0)
	s := &scene{t: t, log: slog.New(slog.DiscardHandler), partitions: 1 + dice.IntN(4), producers: 1 + dice.IntN(2), over: make(chan struct{})}
	if os.Getenv(seedVariable) == fmt.Sprint(seed) {
		s.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, c := range []**cluster{&s.source, &s.destination} {
		var err error
		if *c, err = newCluster(brokers, kfake.GroupMinSessionTimeout(100*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		defer (*c).Close()
	}
	if err := s.source.CreateTopic(topic, int32(s.partitions), nil); err != nil {
		t.Fatal(err)
	}
	tools, stopTools := context.WithCancel(ctx)
	var actors, tooling sync.WaitGroup
	defer tooling.Wait()
	defer stopTools()

	tooling.Go(func() { s.mirrors(tools, newChance(seed, 1)) })
	group := ""
	instances := 1 + dice.IntN(2)
	if dice.one(0.4) {
		group = "verifiers"
	}
	for i := range instances {
		tooling.Go(func() { s.consumers(tools, newChance(seed, 10+uint64(i)), group, instances, i) })
	}
	dead := make([]int, s.producers)
	for i := range s.producers {
		actors.Go(func() { dead[i] = s.lives(ctx, newChance(seed, 20+uint64(i)), i) })
	}
	actors.Go(func() { s.trouble(ctx, newChance(seed, 2)) })

	// The auditor may come late, when much of what happened is in ledgers only,
	// and take over from one that was killed.
	if dice.one(0.3) {
		p := s.start(ctx, "first auditor", func(ctx context.Context, machine kgo.Opt) error {
			a, err := s.auditor(ctx, machine)
			if err == nil {
				_, err = a.Run(ctx)
			}
			return err
		})
		_ = sleep(ctx, dice.between(100*time.Millisecond, 2*time.Second))
		p.kill()
		<-p.done
	}
	if dice.one(0.3) {
		actors.Wait()
	}
	drain := make(chan struct{})
	audited := make(chan *verdict.Document, 1)
	go func() { audited <- s.audit(ctx, drain) }()
	actors.Wait()
	close(s.over)
	s.awaitMirror(ctx)
	s.awaitConsumers(ctx)
	close(drain)
	doc := <-audited
	if doc == nil {
		t.FailNow()
	}

	truth, differences := oracletest.Compare(ctx, t, doc, s.source.options(), s.destination.options(), []string{topic}, s.producers)
	for i, d := range differences {
		if i == 20 {
			t.Errorf("… and %d more differences", len(differences)-i)
			break
		}
		t.Error(d)
	}
	if truth.Outcome == string(verdict.CannotSay) {
		t.Errorf("nothing was hidden, and yet even the oracle cannot say: %v", truth.Doubts)
	}
	killed := 0
	for _, n := range dead {
		killed += n
	}
	t.Logf("%s: %d producers, %d partitions, expected %d, received %d, lost %d, duplicates %d, reordered %d, corrupt %d, misplaced %d, unsent %d",
		truth.Outcome, s.producers, s.partitions, truth.Total.Expected, truth.Total.Received, truth.Total.Lost, truth.Total.Duplicates,
		truth.Total.Reordered, truth.Total.Corrupt, truth.Total.Misplaced, truth.Total.Unsent)
	return truth, killed
}

// process is a program on a machine.
type process struct {
	*machine
	stop func() // asks it to end, and waits
	done chan struct{}
	err  error // once done
}

// start runs a program whose every connection goes through a machine of its
// own. When the machine dies the program is told to end too, since nobody hears
// it any more.
func (s *scene) start(ctx context.Context, name string, run func(ctx context.Context, machine kgo.Opt) error) *process {
	p := &process{machine: newMachine(), done: make(chan struct{})}
	running, cancel := context.WithCancel(ctx)
	p.stop = func() { cancel(); <-p.done }
	go func() {
		defer close(p.done)
		defer cancel()
		// Programs give up when they are started in the midst of trouble. Whoever
		// needs them starts them again.
		if p.err = run(running, p.option()); p.err != nil {
			s.log.Info("ended with an error", "process", name, "error", p.err)
		}
	}()
	go func() {
		select {
		case <-p.died:
			cancel()
		case <-p.done:
		}
	}()
	return p
}

// lives lets a producer live several times, and returns how often it was
// killed.
func (s *scene) lives(ctx context.Context, dice chance, index int) (killed int) {
	c := produce.Config{}
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = testID, fmt.Sprintf("producer-%d", index), []string{topic}
	c.MessageSize = units.Size(150 + dice.IntN(300))
	c.UseMessageHeaders = dice.one(0.3)
	c.SnapshotInterval = dice.between(50*time.Millisecond, 300*time.Millisecond)
	c.MetadataInterval = 100 * time.Millisecond
	if dice.one(0.3) {
		c.Keys = message.KeysSeed
	}
	if dice.one(0.2) {
		c.Idempotent = false
		if dice.one(0.5) {
			c.Acks = produce.AcksLeader
		}
	}
	// The last life is undisturbed, and so begins and ends well.
	for n := 1 + dice.IntN(4); n > 0; {
		c.Throughput = units.Rate{Kind: units.Records, PerSecond: float64(300 + dice.IntN(900))}
		c.Records = uint64(100 + dice.IntN(900))
		c.ShutdownTimeout = 20 * time.Second
		end := dice.Float64()
		if n == 1 {
			end = 1
		}
		if end < 0.5 {
			c.ShutdownTimeout = 300 * time.Millisecond // it will be killed: nothing it does then matters
		}
		p := s.start(ctx, c.ID, func(ctx context.Context, machine kgo.Opt) error {
			p, err := produce.New(c, produce.Deps{Options: append(s.source.options(), machine), Logger: s.log.With("process", c.ID)})
			if err != nil {
				return err
			}
			return p.Run(ctx)
		})
		switch {
		case end < 0.5:
			// Anywhere between its first packet and its last, or after that.
			p.killAfter(1 + dice.IntN(100))
			select {
			case <-p.died:
				killed++
			case <-p.done:
			}
		case end < 0.7:
			_ = sleep(ctx, dice.between(100*time.Millisecond, time.Second))
			p.stop()
		}
		<-p.done
		if end < 0.7 || p.err == nil {
			n--
		} else if ctx.Err() != nil {
			s.t.Errorf("%s: %v", c.ID, p.err)
			break
		}
	}
	return killed
}

// consumers keeps one consumer of several alive: it is killed, stopped, or
// frozen so that another takes its place, and wakes when that one is at work.
func (s *scene) consumers(ctx context.Context, dice chance, group string, instances, index int) {
	c := consume.Config{}
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = testID, fmt.Sprintf("consumer-%d", index), []string{topic}
	c.Instances, c.Index = instances, index
	if group != "" {
		c.Group, c.Instances, c.Index = group, 1, 0
	}
	c.SnapshotInterval = dice.between(30*time.Millisecond, 200*time.Millisecond)
	c.MetadataInterval = 100 * time.Millisecond
	c.ShutdownTimeout = time.Second
	begin := func() *process {
		return s.start(ctx, c.ID, func(ctx context.Context, machine kgo.Opt) error {
			opts := append(s.destination.options(), machine)
			if group != "" {
				// The dead are not waited for long.
				opts = append(opts, kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(100*time.Millisecond), kgo.RebalanceTimeout(time.Second))
			}
			r, err := consume.New(c, consume.Deps{Options: opts, Logger: s.log.With("process", c.ID)})
			if err != nil {
				return err
			}
			return r.Run(ctx)
		})
	}
	current := begin()
	var zombies []*process
	defer func() {
		for _, p := range append(zombies, current) {
			p.thaw()
			p.stop()
		}
	}()
	for over := s.over; ; {
		select {
		case <-ctx.Done():
			return
		case <-over:
			for _, z := range zombies {
				z.thaw()
			}
			over = nil
		case <-current.done:
			current = begin()
			continue
		case <-time.After(dice.between(200*time.Millisecond, 1200*time.Millisecond)):
		}
		if over == nil {
			continue // from now on it is left alone
		}
		switch what := dice.Float64(); {
		case what < 0.35:
			current.killAfter(1 + dice.IntN(30))
			select {
			case <-current.died:
			case <-time.After(200 * time.Millisecond):
				current.kill()
			}
			<-current.done
			current = begin()
		case what < 0.6:
			current.freeze()
			zombies = append(zombies, current)
			current = begin()
		case what < 0.75:
			current.stop()
			current = begin()
		}
		if len(zombies) > 0 && dice.one(0.6) {
			// It wakes, goes on for a while as if nothing had been, and ends.
			z := zombies[0]
			zombies = zombies[1:]
			z.thaw()
			_ = sleep(ctx, dice.between(50*time.Millisecond, 500*time.Millisecond))
			if dice.one(0.5) {
				z.kill()
			}
			z.stop()
		}
	}
}

// mirrors keeps a mirror alive, which may go wrong and may be killed.
func (s *scene) mirrors(ctx context.Context, dice chance) {
	var c mirror.Config
	c.SetDefaults()
	c.Topics = []string{topic}
	c.RefreshInterval = 50 * time.Millisecond
	c.CommitInterval = 50 * time.Millisecond
	if dice.one(0.85) {
		kinds := mirror.Kinds()
		for range 1 + dice.IntN(3) {
			f := mirror.FaultConfig{Kind: kinds[dice.IntN(len(kinds))]}
			f.SetDefaults()
			f.Seed = dice.Uint64()
			f.Probability = 0.002 + 0.03*dice.Float64()
			f.Count = 1 + dice.IntN(30)
			f.Hold = dice.between(10*time.Millisecond, 800*time.Millisecond)
			if f.Kind == mirror.Stall {
				f.For = dice.between(200*time.Millisecond, 1500*time.Millisecond)
			}
			c.Faults = append(c.Faults, f)
		}
	}
	mortal := dice.one(0.4)
	for ctx.Err() == nil {
		c.ShutdownTimeout = time.Second
		if dice.one(0.5) {
			c.ShutdownTimeout = 0
		}
		p := s.start(ctx, "mirror", func(ctx context.Context, _ kgo.Opt) error {
			m, err := mirror.New(c, mirror.Deps{Source: s.source.options(), Destination: s.destination.options(), Logger: s.log.With("process", "mirror")})
			if err != nil {
				return err
			}
			return m.Run(ctx)
		})
		var enough <-chan time.Time
		if mortal {
			enough = time.After(dice.between(300*time.Millisecond, 2*time.Second))
		}
		select {
		case <-ctx.Done():
		case <-p.done:
		case <-s.over:
			mortal = false
			select {
			case <-ctx.Done():
			case <-p.done:
			}
		case <-enough:
		}
		p.stop()
	}
}

// trouble is what happens to the clusters.
func (s *scene) trouble(ctx context.Context, dice chance) {
	for range 1 + dice.IntN(4) {
		if sleep(ctx, dice.between(200*time.Millisecond, 1200*time.Millisecond)) != nil {
			return
		}
		c := s.source
		if dice.one(0.4) {
			c = s.destination
		}
		all := []string{topic, ledger.SourceTopic, ledger.DestinationTopic}
		switch what := dice.Float64(); {
		case what < 0.3:
			c.ShufflePartitionLeaders()
		case what < 0.6:
			broker := int32(dice.IntN(brokers))
			c.kill(broker)
			_ = sleep(ctx, dice.between(0, 400*time.Millisecond))
			if _, err := c.elect(broker, all); err != nil {
				s.t.Error(err)
			}
			_ = sleep(ctx, dice.between(0, 600*time.Millisecond))
			c.revive(broker)
		case what < 0.9:
			s.grow(ctx, dice)
		}
	}
}

func (s *scene) grow(ctx context.Context, dice chance) {
	client, err := kgo.NewClient(s.source.options()...)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer client.Close()
	s.partitions += 1 + dice.IntN(2)
	if err := topics.Grow(ctx, client, topics.Growth{Names: []string{topic}, Partitions: s.partitions}); err != nil {
		s.t.Error(err)
	}
}

func (s *scene) auditor(ctx context.Context, opts ...kgo.Opt) (*audit.Auditor, error) {
	c := audit.Config{
		TestID: testID, Topics: []string{topic}, Producers: s.producers, Interval: 150 * time.Millisecond,
		DrainIdle: 6 * time.Second, Quiet: 500 * time.Millisecond, DeadAfter: 2 * time.Second,
	}
	return audit.New(ctx, c, audit.Deps{
		Source: append(s.source.options(), opts...), Destination: append(s.destination.options(), opts...),
		Logger: s.log.With("process", "auditor"), Registerer: prometheus.NewRegistry(),
	})
}

// audit audits until there is a verdict; an auditor that gives up, because it was
// started in the midst of trouble, is started again.
func (s *scene) audit(ctx context.Context, drain <-chan struct{}) *verdict.Document {
	for {
		doc, err := func() (*verdict.Document, error) {
			a, err := s.auditor(ctx)
			if err != nil {
				return nil, err
			}
			ended := make(chan struct{})
			defer close(ended)
			go func() {
				select {
				case <-drain:
					a.Drain()
				case <-ended:
				}
			}()
			return a.Run(ctx)
		}()
		if err == nil {
			return doc
		}
		if ctx.Err() != nil {
			s.t.Errorf("no verdict: %v", err)
			return nil
		}
		s.log.Info("the auditor ended with an error", "error", err)
	}
}

// awaitMirror waits until the mirror has dealt with everything.
func (s *scene) awaitMirror(ctx context.Context) {
	client, err := kgo.NewClient(s.destination.options()...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	s.await(ctx, "the mirror", func() (behind []string) {
		stored, err := kadm.NewClient(client).FetchOffsets(ctx, "kmt-mirror")
		if err != nil {
			return []string{err.Error()}
		}
		for _, p := range s.source.PartitionInfos(topic) {
			if o, ok := stored.Lookup(topic, p.Partition); p.HighWatermark > 0 && (!ok || o.At < p.HighWatermark) {
				behind = append(behind, fmt.Sprintf("partition %d is at %d of %d", p.Partition, o.At, p.HighWatermark))
			}
		}
		return behind
	})
}

// awaitConsumers waits until the ledger has everything at the destination.
// Later than the auditor's patience it would say "unobserved", and be right.
func (s *scene) awaitConsumers(ctx context.Context) {
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: s.destination.options(), Topic: ledger.DestinationTopic, Test: testID})
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	reached := map[int32]int64{}
	s.await(ctx, "the consumers", func() (behind []string) {
		err := reader.ReadToEnd(ctx, func(e ledger.Entry) error {
			if e.Key.Kind != ledger.KindReceived {
				return nil
			}
			r, err := ledger.Restore(e.Payload)
			if err == nil {
				reached[r.Partition] = max(reached[r.Partition], r.Next)
			}
			return err
		})
		if err != nil {
			return []string{err.Error()}
		}
		for _, p := range s.destination.PartitionInfos(topic) {
			if next := reached[p.Partition]; next < p.HighWatermark {
				behind = append(behind, fmt.Sprintf("partition %d is at %d of %d", p.Partition, next, p.HighWatermark))
			}
		}
		return behind
	})
}

func (s *scene) await(ctx context.Context, who string, behind func() []string) {
	for end := time.Now().Add(patient); ; _ = sleep(ctx, 20*time.Millisecond) {
		waiting := behind()
		if len(waiting) == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s did not catch up in %s: %s", who, patient, strings.Join(waiting, ", "))
		}
	}
}
