package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

const (
	testID    = "demo"
	topic     = "demo"
	brokers   = 3
	producers = 2
	consumers = 2
	victim    = int32(0) // the source broker that fails; it leads the ledger too
	// patience is how long the audit may go on after the load was interrupted.
	patience = 20 * time.Second
)

// Deps are what the demonstration works with.
type Deps struct {
	// Logger should write to Progress.Writer, if there is a Progress.
	Logger *slog.Logger
	// Progress shows what happens; nil: nobody watches. Whoever made it closes it.
	Progress *progress.Printer
	// Settings and Versions are shown in the report as they are.
	Settings, Versions map[string]string
}

// demo is one run.
type demo struct {
	cfg                 Config
	deps                Deps
	source, destination *cluster
	auditor             *audit.Auditor
	producers           []*produce.Producer

	mu    sync.Mutex
	phase string
}

// Run plays the scenario and returns the verdict. When ctx ends, the load stops
// early and the verdict is on what there was.
func Run(ctx context.Context, cfg Config, deps Deps) (*verdict.Document, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &demo{cfg: cfg, deps: deps}
	var err error
	if d.source, err = newCluster(brokers); err != nil {
		return nil, err
	}
	defer d.source.Close()
	if d.destination, err = newCluster(brokers); err != nil {
		return nil, err
	}
	defer d.destination.Close()
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	return d.play(ctx)
}

// prepare makes the topics and all that works with them.
func (d *demo) prepare(ctx context.Context) error {
	// Embedded clusters do not stamp records with the time they are appended, so
	// latency is measured to the consumers.
	for _, c := range []*cluster{d.source, d.destination} {
		client, err := kgo.NewClient(c.options()...)
		if err != nil {
			return fmt.Errorf("reach the embedded cluster: %w", err)
		}
		defer client.Close()
		err = topics.Create(ctx, client, topics.Config{
			Names: []string{topic}, Partitions: d.cfg.Partitions, Retention: time.Hour,
		})
		if err != nil {
			return err
		}
	}
	auditing := audit.Config{
		TestID: testID, Topics: []string{topic}, Producers: producers,
		Interval: 500 * time.Millisecond, DrainIdle: 6 * time.Second, Quiet: 2 * time.Second,
		OneClock: true, Expectations: d.cfg.Expectations, Settings: d.deps.Settings, Versions: d.deps.Versions,
	}
	auditing.SetDefaults()
	var err error
	d.auditor, err = audit.New(ctx, auditing, audit.Deps{
		Source: d.source.options(), Destination: d.destination.options(), Logger: d.log("auditor"), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	for i := range producers {
		c := d.cfg.producer(i)
		p, err := produce.New(c, produce.Deps{Options: d.source.options(), Logger: d.log(c.ID)})
		if err != nil {
			d.auditor.Close()
			return err
		}
		d.producers = append(d.producers, p)
	}
	// Leaders in turn, so that each broker has its share of everything.
	for c, book := range map[*cluster]string{d.source: ledger.SourceTopic, d.destination: ledger.DestinationTopic} {
		if err := c.spread([]string{book, topic}); err != nil {
			d.auditor.Close()
			return err
		}
	}
	return nil
}

func (d *demo) log(component string) *slog.Logger { return d.deps.Logger.With("component", component) }

// play runs the load, the scenario and everything that follows them, and
// returns the verdict.
func (d *demo) play(ctx context.Context) (*verdict.Document, error) {
	// The mirror, the consumers and the auditor work until there is a verdict,
	// also when ctx ends before.
	tools := newGroup(context.WithoutCancel(ctx))
	load := newGroup(ctx)
	defer context.AfterFunc(tools.ctx, func() { load.cancel(context.Cause(tools.ctx)) })()

	var document *verdict.Document
	audited := make(chan struct{})
	tools.start("auditor", func(ctx context.Context) (err error) {
		defer close(audited)
		document, err = d.auditor.Run(ctx)
		return err
	})
	tools.start("mirror", d.mirror)
	for i := range consumers {
		tools.start(fmt.Sprintf("consumer-%d", i+1), func(ctx context.Context) error { return d.consume(ctx, i) })
	}
	for _, p := range d.producers {
		load.start("producer", p.Run)
	}
	load.start("scenario", d.scenario)

	d.introduce()
	shown, show := context.WithCancel(context.Background())
	var display sync.WaitGroup
	display.Go(func() { d.show(shown) })

	err := load.wait()
	if err == nil {
		d.enter("draining")
		d.auditor.Drain()
		var late <-chan time.Time
		if ctx.Err() != nil {
			late = time.After(patience)
		}
		select {
		case <-audited:
		case <-late: // then the auditor gives the verdict on what there is
		case <-tools.ctx.Done():
		}
	}
	tools.cancel(nil)
	if stopped := tools.wait(); err == nil {
		err = stopped
	}
	show()
	display.Wait()
	if err != nil {
		return nil, err
	}
	if v := &document.Verdict; ctx.Err() != nil && v.Outcome == verdict.Holds {
		v.Outcome = verdict.CannotSay
		v.Reasons = append(v.Reasons, "the demonstration was stopped early: what was sent until then is all right, but not everything was tried")
	}
	return document, nil
}

func (d *demo) mirror(ctx context.Context) error {
	var c mirror.Config
	c.SetDefaults()
	c.Topics = []string{topic}
	c.ShutdownTimeout = time.Second
	c.Faults = d.cfg.fault()
	m, err := mirror.New(c, mirror.Deps{Source: d.source.options(), Destination: d.destination.options(), Logger: d.log("mirror")})
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

func (d *demo) consume(ctx context.Context, index int) error {
	var c consume.Config
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = testID, fmt.Sprintf("consumer-%d", index+1), []string{topic}
	c.Instances, c.Index = consumers, index
	r, err := consume.New(c, consume.Deps{Options: d.destination.options(), Logger: d.log(c.ID)})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// group runs functions together: if one fails, or ends with an error, the
// others are stopped.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	err    error // the first
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

func (g *group) start(name string, run func(context.Context) error) {
	g.wg.Go(func() {
		err := run(g.ctx)
		if err == nil {
			return
		}
		err = fmt.Errorf("%s: %w", name, err)
		g.mu.Lock()
		if g.err == nil {
			g.err = err
		}
		g.mu.Unlock()
		g.cancel(err)
	})
}

// wait returns the first error when all have ended.
func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// introduce says what is going to happen.
func (d *demo) introduce() {
	if d.deps.Progress == nil {
		return
	}
	s := d.cfg.script()
	text := fmt.Sprintf("Two embedded clusters of %d brokers, joined by a mirror. %d producers send %s of %s to %d partitions, %d consumers verify what arrives.\n",
		brokers, producers, d.cfg.Throughput, d.cfg.MessageSize, d.cfg.Partitions, consumers)
	text += fmt.Sprintf("A source broker fails after %s and is back after %s; the load ends after %s, and the verdict follows once the mirror has caught up or given up.\n",
		human.Elapsed(s.kill.Seconds()), human.Elapsed(s.back.Seconds()), human.Elapsed(d.cfg.Duration.Seconds()))
	if d.cfg.MirrorFault != "" {
		text += fmt.Sprintf("The mirror is made to go wrong: %s.\n", d.cfg.MirrorFault)
	}
	_, _ = io.WriteString(d.deps.Progress.Writer(), text+"\n") // as all that is shown: if nobody can read it, the test goes on
}

// show shows the state every second until ctx ends.
func (d *demo) show(ctx context.Context) {
	if d.deps.Progress == nil {
		return
	}
	d.deps.Progress.Watch(ctx, d.auditor.Snapshot, func() string {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.phase
	})
}

// enter begins a phase of what is shown.
func (d *demo) enter(phase string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phase = phase
}

// event tells the auditor, and through it whoever watches.
func (d *demo) event(e verdict.Event) {
	e.Time = time.Now().UnixMicro()
	d.auditor.AddEvent(e)
}

// script is when what happens, after the load began.
type script struct{ kill, elect, back, prefer time.Duration }

func (c *Config) script() script {
	kill, back := c.Duration/3, c.Duration/3+c.Duration/5
	return script{
		kill: kill,
		// How long a real cluster takes to notice, or less.
		elect:  kill + min(2*time.Second, c.Duration/15),
		back:   back,
		prefer: back + min(time.Second, c.Duration/30),
	}
}

// scenario waits for the load and lets a source broker fail.
func (d *demo) scenario(ctx context.Context) error {
	for _, p := range d.producers {
		for p.Ready() != nil {
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return nil // stopped
			}
		}
	}
	begin := time.Now()
	d.enter("baseline")
	until := func(t time.Duration) bool { return sleep(ctx, time.Until(begin.Add(t))) == nil }
	all := []string{ledger.SourceTopic, topic}
	s := d.cfg.script()
	if !until(s.kill) {
		return nil
	}
	var names []string
	for _, p := range d.source.leaders(all) {
		if p.leader == victim {
			names = append(names, fmt.Sprintf("%s/%d", p.topic, p.partition))
		}
	}
	d.source.kill(victim)
	d.enter("broker down")
	d.event(verdict.Event{Kind: "broker-kill", Side: "source", Detail: fmt.Sprintf("broker %d, leader of %s", victim, strings.Join(names, ", "))})
	// Whatever ends the scenario, the broker comes back: producers must be able
	// to finish.
	defer d.source.revive(victim)
	stay := until(s.elect)
	led, err := d.source.elect(victim, all)
	if err != nil {
		return err
	}
	if !stay || !until(s.back) {
		return nil
	}
	d.source.revive(victim)
	d.enter("broker back")
	d.event(verdict.Event{Kind: "broker-return", Side: "source", Detail: fmt.Sprintf("broker %d", victim)})
	if !until(s.prefer) {
		return nil
	}
	return d.source.prefer(led)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
