package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// FaultKey is the key of a Config's ReplicatorConfig that makes the mirror go wrong: one of mirror.Kinds.
const FaultKey = "fault"

// maxRate is how many bytes per second the embedded clusters take, since they keep all in memory, twice.
const maxRate = 5_000_000

// Target plays scenarios in this process, on embedded clusters with the mirror between them. It can do
// less than real clusters: brokers fail and return, topics, partitions and the load change.
type Target struct {
	deps TargetDeps

	mu                  sync.Mutex
	cfg                 scenario.Config
	dir                 string // of the settings file
	source, destination *cluster
	auditor             *audit.Auditor
	tools, load, faults *group
	document            *verdict.Document // final
	audited             chan struct{}
}

// TargetDeps are what a Target works with.
type TargetDeps struct {
	Logger *slog.Logger
	// Settings and Versions are shown in the report as they are.
	Settings, Versions map[string]string
}

// NewTarget makes a target on which nothing runs yet.
func NewTarget(deps TargetDeps) *Target { return &Target{deps: deps} }

// Name is how --target calls it.
func (t *Target) Name() string { return "demo" }

// ReplicatorName says what copies.
func (t *Target) ReplicatorName(c scenario.Config) string {
	if fault := c.Destination.ReplicatorConfig[FaultKey]; fault != "" {
		return "mirror-" + fault
	}
	return "mirror"
}

// Versions are the program's.
func (t *Target) Versions() map[string]string { return t.deps.Versions }

// Provides says which features there are: none.
func (t *Target) Provides(feature string) error {
	return fmt.Errorf("%w: the embedded clusters have not %s (%s)", scenario.ErrCannotPlay, feature, scenario.Features()[feature])
}

// ClientOptions reach the cluster of a side, for what else is tried on it.
func (t *Target) ClientOptions(side string) []kgo.Opt {
	if side == "source" {
		return t.source.options()
	}
	return t.destination.options()
}

// Check says what the embedded clusters cannot do.
func (t *Target) Check(configs []scenario.Config) error {
	var errs []error
	cannot := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{scenario.ErrCannotPlay}, args...)...))
	}
	first := configs[0]
	if first.Secure {
		cannot("the embedded clusters have no TLS")
	}
	if first.Destination.Replicator != scenario.MirrorMaker2 {
		cannot("between the embedded clusters there is a mirror in this process, and no %s", first.Destination.Replicator)
	}
	for key, value := range first.Destination.ReplicatorConfig {
		if key != FaultKey {
			cannot("replicatorConfig: %s: the mirror knows only %s", key, FaultKey)
		} else if !slices.Contains(mirror.Kinds(), value) {
			errs = append(errs, fmt.Errorf("replicatorConfig: fault: %q: use one of %s", value, strings.Join(mirror.Kinds(), ", ")))
		}
	}
	for i := range configs {
		c := &configs[i]
		s := &c.Source
		if rate := s.Throughput.RecordsPerSecond(s.MessageSize) * float64(s.MessageSize) * float64(s.Producers*len(s.Topics)); !(rate <= maxRate) {
			cannot("the embedded clusters keep all records in memory and take at most %s a second", human.Bytes(maxRate))
		}
		for _, f := range []scenario.Fault{s.Fault, c.Destination.Fault} {
			if f.Kind != "" && f.Kind != "broker-kill" && f.Kind != "broker-outage" {
				cannot("the embedded clusters know no fault %s", f.Kind)
			}
		}
		same := c.Source.Brokers == first.Source.Brokers && c.Destination.Brokers == first.Destination.Brokers &&
			c.Source.KafkaRestart == first.Source.KafkaRestart && c.Destination.KafkaRestart == first.Destination.KafkaRestart
		if !same {
			cannot("the embedded clusters keep their brokers")
		}
		if c.Destination.Workers != first.Destination.Workers || c.Destination.Consumers != first.Destination.Consumers || s.Producers != first.Source.Producers {
			cannot("the processes stay as many as they are")
		}
	}
	return errors.Join(errs...)
}

// Start makes both clusters and everything that works with them.
func (t *Target) Start(ctx context.Context, baseline scenario.Config) (err error) {
	t.cfg = baseline
	if t.dir, err = os.MkdirTemp("", "loadgen-demo-"); err != nil {
		return err
	}
	if t.source, err = newCluster(baseline.Source.Brokers); err != nil {
		return err
	}
	if t.destination, err = newCluster(baseline.Destination.Brokers); err != nil {
		return err
	}
	if err := errors.Join(t.apply(ctx, t.source, &baseline.Source.Cluster), t.apply(ctx, t.destination, &baseline.Destination.Cluster), t.settings(baseline)); err != nil {
		return err
	}
	auditing := audit.Config{
		TestID: baseline.TestID, Topics: baseline.Source.Topics, Producers: baseline.Source.Producers, SettingsFile: t.settingsFile(),
		Interval: 500 * time.Millisecond, DrainIdle: 6 * time.Second, Quiet: 2 * time.Second, OneClock: true,
		Settings: t.deps.Settings, Versions: t.deps.Versions,
	}
	for _, text := range baseline.Destination.Expectations {
		e, err := verdict.ParseExpectation(text)
		if err != nil {
			return err
		}
		auditing.Expectations = append(auditing.Expectations, e)
	}
	t.auditor, err = audit.New(ctx, auditing, audit.Deps{
		Source: t.source.options(), Destination: t.destination.options(), Logger: t.log("auditor"), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	var producers []*produce.Producer
	for i := range baseline.Source.Producers {
		p, err := t.producer(i)
		if err != nil {
			t.auditor.Close()
			return err
		}
		producers = append(producers, p)
	}
	for c, book := range map[*cluster]string{t.source: ledger.SourceTopic, t.destination: ledger.DestinationTopic} {
		if err := c.spread(append([]string{book}, baseline.Source.Topics...)); err != nil {
			t.auditor.Close()
			return err
		}
	}
	// They work until Stop, whatever becomes of ctx.
	background := context.WithoutCancel(ctx)
	t.tools, t.load, t.faults = newGroup(background), newGroup(background), newGroup(background)
	t.audited = make(chan struct{})
	t.tools.start("auditor", func(ctx context.Context) error {
		defer close(t.audited)
		doc, err := t.auditor.Run(ctx)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.document = doc
		return err
	})
	t.tools.start("mirror", t.mirror)
	for i := range baseline.Destination.Consumers {
		t.tools.start(fmt.Sprintf("consumer-%d", i+1), func(ctx context.Context) error { return t.consume(ctx, i) })
	}
	for i, p := range producers {
		t.load.start(fmt.Sprintf("producer-%d", i+1), p.Run)
	}
	for { // a record has crossed
		if doc := t.auditor.Snapshot(); doc.Verdict.Total.Received > 0 {
			return nil
		}
		if err := t.wait(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("no record has crossed: %w", err)
		}
	}
}

// wait waits a while, less if something that must work has failed.
func (t *Target) wait(ctx context.Context, d time.Duration) error {
	for _, g := range []*group{t.tools, t.load, t.faults} {
		if g == nil {
			return errors.New("nothing has been started")
		}
		if g.ctx.Err() != nil {
			return context.Cause(g.ctx)
		}
	}
	return sleep(ctx, d)
}

func (t *Target) log(component string) *slog.Logger {
	return t.deps.Logger.With("component", component)
}

// apply makes topics, and adds partitions to them.
func (t *Target) apply(ctx context.Context, c *cluster, want *scenario.Cluster) error {
	client, err := kgo.NewClient(c.options()...)
	if err != nil {
		return fmt.Errorf("reach the embedded cluster: %w", err)
	}
	defer client.Close()
	_, err = topics.Apply(ctx, client, topics.Config{Names: want.Topics, Partitions: want.Partitions, Retention: time.Duration(want.Retention)}, true)
	return err
}

func (t *Target) settingsFile() string { return filepath.Join(t.dir, "settings.yaml") }

// settings writes what producers, consumers and the auditor follow.
func (t *Target) settings(c scenario.Config) error {
	var text strings.Builder
	for _, topic := range c.Source.Topics {
		fmt.Fprintf(&text, "%s: {rate: %s, size: %s}\n", topic, c.Source.Throughput, c.Source.MessageSize)
	}
	next := t.settingsFile() + ".new"
	if err := os.WriteFile(next, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, t.settingsFile())
}

func (t *Target) producer(index int) (*produce.Producer, error) {
	s := &t.cfg.Source
	var c produce.Config
	c.SetDefaults()
	c.TestID, c.ID, c.SettingsFile = t.cfg.TestID, fmt.Sprintf("producer-%d", index+1), t.settingsFile()
	c.Throughput, c.MessageSize, c.UseMessageHeaders, c.Compressibility = s.Throughput, s.MessageSize, s.UseMessageHeaders, s.Compressibility
	c.MetadataInterval, c.ShutdownTimeout = time.Second, patience/2
	if c.Throughput.Kind == units.Unlimited {
		return nil, errors.New("throughput max: the embedded clusters keep all records in memory")
	}
	return produce.New(c, produce.Deps{Options: t.source.options(), Logger: t.log(c.ID)})
}

func (t *Target) mirror(ctx context.Context) error {
	var c mirror.Config
	c.SetDefaults()
	c.ShutdownTimeout = time.Second
	if kind := t.cfg.Destination.ReplicatorConfig[FaultKey]; kind != "" {
		f := mirror.FaultConfig{Kind: kind}
		f.SetDefaults()
		switch kind {
		case mirror.Stall:
			f.Probability, f.After, f.Partitions = 0, 100, []int32{0}
		case mirror.Replay:
			f.Probability, f.After, f.Count = 0, 100, 50
		default:
			f.Probability = 0.01
		}
		c.Faults = []mirror.FaultConfig{f}
	}
	m, err := mirror.New(c, mirror.Deps{Source: t.source.options(), Destination: t.destination.options(), Logger: t.log("mirror")})
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

func (t *Target) consume(ctx context.Context, index int) error {
	var c consume.Config
	c.SetDefaults()
	c.TestID, c.ID, c.SettingsFile = t.cfg.TestID, fmt.Sprintf("consumer-%d", index+1), t.settingsFile()
	c.Instances, c.Index = t.cfg.Destination.Consumers, index
	r, err := consume.New(c, consume.Deps{Options: t.destination.options(), Logger: t.log(c.ID)})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// Converge changes topics, partitions, the load and faults.
func (t *Target) Converge(ctx context.Context, next scenario.Config) error {
	if err := t.wait(ctx, 0); err != nil {
		return err
	}
	if err := t.apply(ctx, t.destination, &next.Destination.Cluster); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if err := t.apply(ctx, t.source, &next.Source.Cluster); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := t.settings(next); err != nil {
		return err
	}
	before := t.cfg
	t.cfg = next
	for _, side := range []struct {
		name    string
		cluster *cluster
		was, is scenario.Cluster
	}{{"source", t.source, before.Source.Cluster, next.Source.Cluster}, {"destination", t.destination, before.Destination.Cluster, next.Destination.Cluster}} {
		f := side.is.Fault
		if f.Kind == "" || sameFault(f, side.was.Fault) {
			continue
		}
		if err := t.fault(side.name, side.cluster, f, side.is.Topics); err != nil {
			return fmt.Errorf("%s: %s: %w", side.name, f.Kind, err)
		}
	}
	return nil
}

func sameFault(a, b scenario.Fault) bool {
	victims := slices.Equal(a.Victims, b.Victims)
	a.Victims, b.Victims = nil, nil
	return victims && fmt.Sprint(a) == fmt.Sprint(b)
}

// fault kills brokers, has others elected, and brings them back when their time is over.
func (t *Target) fault(side string, c *cluster, f scenario.Fault, names []string) error {
	all := append([]string{ledger.SourceTopic}, names...)
	if side == "destination" {
		all[0] = ledger.DestinationTopic
	}
	tell := func(kind string) {
		t.auditor.AddEvent(verdict.Event{Kind: kind, Side: side, Detail: fmt.Sprintf("brokers %v", f.Victims)})
	}
	for _, v := range f.Victims {
		c.kill(int32(v))
	}
	tell(f.Kind)
	down := time.Duration(f.Duration)
	if down == 0 {
		down = 500 * time.Millisecond // a process that is started again at once
	}
	revive := func() {
		for _, v := range f.Victims {
			c.revive(int32(v))
		}
	}
	t.faults.start(f.Kind, func(ctx context.Context) error {
		defer revive()
		notice := min(time.Second, down/3)
		_ = sleep(ctx, notice) // stopped: over at once
		if len(f.Victims) < len(c.ListenAddrs()) {
			for _, v := range f.Victims {
				if _, err := c.elect(int32(v), all); err != nil {
					return err
				}
			}
		}
		if sleep(ctx, down-notice) != nil {
			return nil
		}
		revive()
		if scenario.FaultKinds()[f.Kind].Lasting {
			tell(f.Kind + scenario.EndSuffix)
		}
		return nil
	})
	return nil
}

// Mark tells the auditor of something.
func (t *Target) Mark(_ context.Context, event verdict.Event) error {
	t.auditor.AddEvent(event)
	return nil
}

// Status returns the verdict so far.
func (t *Target) Status(ctx context.Context) (*verdict.Document, error) {
	if err := t.wait(ctx, 0); err != nil {
		return nil, err
	}
	doc := t.auditor.Snapshot()
	return &doc, nil
}

// Drain ends the load and returns the final verdict.
func (t *Target) Drain(ctx context.Context) (*verdict.Document, error) {
	if t.auditor == nil || t.load == nil {
		return nil, errors.New("nothing has been started")
	}
	t.load.cancel(nil)
	if err := errors.Join(t.load.wait(), t.faults.wait()); err != nil {
		return nil, err
	}
	t.auditor.Drain()
	select {
	case <-t.audited:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.tools.ctx.Done():
		return nil, context.Cause(t.tools.ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.document == nil {
		return nil, errors.New("the auditor came to no verdict")
	}
	return t.document, nil
}

// Evidence writes how the mirror and the load were set up; processes with logs of their own there are none.
func (t *Target) Evidence(_ context.Context, dir string) error {
	text, err := os.ReadFile(t.settingsFile())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "settings.yaml"), text, 0o644)
}

// Stop ends and removes everything.
func (t *Target) Stop(context.Context) error {
	for _, g := range []*group{t.faults, t.load, t.tools} {
		if g != nil {
			g.cancel(nil)
		}
	}
	var err error
	for _, g := range []*group{t.faults, t.load, t.tools} {
		if g != nil {
			err = errors.Join(err, g.wait())
		}
	}
	for _, c := range []*cluster{t.source, t.destination} {
		if c != nil {
			c.Close()
		}
	}
	dir := t.dir
	*t = Target{deps: t.deps}
	if dir != "" {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
