// Package audit merges the ledgers of both legs all the time, watches both
// clusters' logs, looks suspects up in the source before retention takes them,
// and comes to the verdict.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Config says what to audit.
type Config struct {
	TestID string
	// Topics of the test at the source; none if SettingsFile names some.
	Topics []string
	// Producers is how many distinct producers the test was meant to have; 0
	// leaves it open, and then a producer that never started goes unnoticed. What
	// SettingsFile says of it takes its place.
	Producers int
	// SettingsFile, YAML or JSON, names topics of the test beside Topics, and how
	// many producers it has (see settings.Read). It is read again when it changes.
	// A topic that it names no more need not have had any load, but what was sent
	// to it still counts. Empty: none.
	SettingsFile string
	// UntilClosed drains and ends once all expected producers have stopped.
	UntilClosed bool
	// Interval between two looks at the clusters and ledgers. Default 1 s.
	Interval time.Duration
	// DrainIdle ends the drain when the replicator has made no progress for so
	// long. Default 30 s.
	DrainIdle time.Duration
	// Quiet is how long the destination must have been silent after everything
	// has arrived, so that late duplicates are counted. Default 3 s, never more
	// than DrainIdle.
	Quiet time.Duration
	// DeadAfter is from when on a producer whose ledger is not updated is taken
	// for dead. Default 20 s.
	DeadAfter time.Duration
	// GiveUp is for how long the clusters may fail to answer, or deny an answer, once
	// the test is draining, before the audit ends without: it then cannot say. Default
	// 10 min.
	GiveUp time.Duration
	// OneClock says that all processes and both clusters run on this machine, so
	// that their clocks need not be compared.
	OneClock bool
	// LedgerReplicas is the replication factor of ledger topics that do not exist
	// yet; 0: as many as the brokers allow, at most 3.
	LedgerReplicas int
	// Expectations are added to verdict.Defaults, or take their place.
	Expectations []verdict.Expectation
	// Notes are put before those of the verdict: what a reader should know of
	// where the test ran.
	Notes []string
	// Settings and Versions are shown in the report as they are. They must not
	// contain secrets.
	Settings map[string]string
	Versions map[string]string
}

// SetDefaults fills in what was left empty.
func (c *Config) SetDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Interval, time.Second)
	def(&c.DrainIdle, 30*time.Second)
	def(&c.Quiet, 3*time.Second)
	def(&c.DeadAfter, 20*time.Second)
	def(&c.GiveUp, 10*time.Minute)
	c.Quiet = min(c.Quiet, c.DrainIdle)
}

// Validate reports every mistake at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.TestID == "" || strings.Contains(c.TestID, "/") {
		bad("test id: %q: want a name without a slash", c.TestID)
	}
	errs = append(errs, settings.CheckTopics(c.Topics, c.SettingsFile))
	if c.Producers < 0 {
		bad("producers: %d: want 0 (not known) or more", c.Producers)
	}
	for name, d := range map[string]time.Duration{"interval": c.Interval, "drain idle": c.DrainIdle, "quiet": c.Quiet, "dead after": c.DeadAfter, "give up": c.GiveUp} {
		if d <= 0 {
			bad("%s: %s: want more than 0", name, d)
		}
	}
	if c.GiveUp < c.Interval {
		bad("give up: %s: want at least the interval of %s", c.GiveUp, c.Interval)
	}
	if c.DeadAfter < 2*c.Interval {
		bad("dead after: %s: want at least twice the interval of %s", c.DeadAfter, c.Interval)
	}
	return errors.Join(errs...)
}

// Deps are what an Auditor works with.
type Deps struct {
	Source, Destination []kgo.Opt // seeds and security; no consuming options
	Logger              *slog.Logger
	Registerer          prometheus.Registerer
}

// Auditor watches one test.
type Auditor struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	src, dst *cluster
	evidence *evidence
	time     *timeline
	watcher  *settings.File // nil: no settings file
	reread   time.Duration  // how often it is read

	looking sync.Mutex // held for a look at the source
	looked  time.Time  // when the last one began; guarded by looking

	drain     chan struct{}
	drainOnce sync.Once

	mu       sync.Mutex
	current  verdict.Document
	ready    bool
	draining bool
}

// New connects to both clusters and their ledger topics. Close frees them if
// Run is not called.
func New(ctx context.Context, cfg Config, deps Deps) (*Auditor, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Auditor{
		cfg:      cfg,
		log:      deps.Logger,
		metrics:  newMetrics(deps.Registerer),
		evidence: newEvidence(cfg.TestID),
		time:     newTimeline(),
		drain:    make(chan struct{}),
	}
	a.evidence.expect(cfg.Topics, cfg.Producers)
	if cfg.SettingsFile != "" {
		a.watcher, a.reread = &settings.File{Path: cfg.SettingsFile}, settings.Every
		if err := a.watcher.Reload(a.apply); err != nil {
			return nil, err
		}
	}
	var err error
	if a.src, err = openCluster(ctx, "source", deps.Source, ledger.SourceTopic, cfg, deps.Logger); err != nil {
		return nil, err
	}
	if a.dst, err = openCluster(ctx, "destination", deps.Destination, ledger.DestinationTopic, cfg, deps.Logger); err != nil {
		a.src.close()
		return nil, err
	}
	a.current = verdict.Document{Schema: verdict.Schema, Config: cfg.Settings, Versions: cfg.Versions,
		Verdict: verdict.Verdict{Test: cfg.TestID, Outcome: verdict.CannotSay, Reasons: []string{"nothing has been looked at yet"}}}
	return a, nil
}

// Close frees the connections.
func (a *Auditor) Close() {
	a.src.close()
	a.dst.close()
}

// apply takes over what a settings file says of the test.
func (a *Auditor) apply(s *settings.Settings) error {
	names, err := s.With(a.cfg.Topics)
	if err != nil {
		return err
	}
	producers := a.cfg.Producers
	if s.Producers != nil {
		producers = *s.Producers
	}
	a.evidence.expect(names, producers)
	return nil
}

// AddEvent notes something that happened to the system under test. An event
// without a time happened now.
func (a *Auditor) AddEvent(e verdict.Event) {
	if e.Time == 0 {
		e.Time = time.Now().UnixMicro()
	}
	a.evidence.addEvent(e)
	a.metrics.happened(a.evidence.sortedEvents())
	a.log.Info("event", "kind", e.Kind, "side", e.Side, "detail", e.Detail)
}

// Drain says that the load has ended or is about to: once the producers have
// closed their ledgers the auditor waits for the replicator and ends.
func (a *Auditor) Drain() { a.drainOnce.Do(func() { close(a.drain) }) }

// Snapshot returns what is known so far.
func (a *Auditor) Snapshot() verdict.Document {
	events := a.evidence.sortedEvents()
	a.mu.Lock()
	defer a.mu.Unlock()
	doc := a.current
	doc.Events = events // the rest is of the last look; while a broker is down that may be some time ago
	return doc
}

// Phase says in a word or two what the audit is doing.
func (a *Auditor) Phase() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.draining:
		return "draining"
	case len(a.current.Verdict.Producers) == 0:
		return "waiting for producers"
	}
	return "under load"
}

// Ready reports whether both clusters and ledgers have been read at least once.
func (a *Auditor) Ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ready
}

// Run audits until the test has drained, and returns the final verdict. When
// ctx ends before that, it says within 30 s what is known, which is never that
// the test holds, nor that something is lost that may be on its way.
func (a *Auditor) Run(ctx context.Context) (*verdict.Document, error) {
	defer a.Close()
	// A broker may be down just now: that is what tests are made of.
	var draining time.Time
	for err := a.restore(ctx); err != nil; err = a.restore(ctx) {
		if ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-a.drain:
			if draining.IsZero() {
				draining = time.Now()
			}
			if time.Since(draining) >= a.cfg.GiveUp {
				return a.conclude(ctx, false, err), nil
			}
		default:
		}
		a.log.Warn("cannot read the destination ledger; trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(a.cfg.Interval):
		}
	}
	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() { a.watchSource(watching) })
	if a.watcher != nil {
		watchers.Go(func() { a.watcher.Watch(watching, a.reread, a.log, a.apply) })
	}
	interrupted, blind := a.watch(ctx)
	stop()
	watchers.Wait()
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	if interrupted {
		final, cancel = context.WithTimeout(final, 30*time.Second)
		defer cancel()
	}
	return a.conclude(final, interrupted, blind), nil
}

// watch looks at everything once per interval until the test has drained. It
// returns true when ctx ended first, and an error when it could not look for so
// long that it has given up.
func (a *Auditor) watch(ctx context.Context) (interrupted bool, blind error) {
	tick := time.NewTicker(a.cfg.Interval)
	defer tick.Stop()
	var (
		draining <-chan struct{} = a.drain
		wait     waiting
		failing  time.Time
	)
	for {
		err := a.look(ctx)
		switch {
		case ctx.Err() != nil:
			return true, nil
		case err != nil && draining == nil && time.Since(later(failing, wait.draining)) >= a.cfg.GiveUp && !failing.IsZero():
			return false, err
		case err != nil && failing.IsZero():
			failing = time.Now()
			a.log.Warn("cannot look at the clusters; trying again", "error", err)
		case err != nil:
			a.log.Debug("still cannot look at the clusters", "since", failing, "error", err)
		case !failing.IsZero():
			a.log.Info("looking at the clusters again", "after", time.Since(failing).Round(time.Second))
			failing = time.Time{}
		}
		if a.cfg.UntilClosed && err == nil && a.evidence.ended(a.cfg.DeadAfter) {
			a.Drain()
		}
		if draining == nil && err == nil && a.drained(ctx, &wait) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return true, nil
		case <-draining:
			draining = nil
			wait = waiting{since: time.Now(), draining: time.Now()}
			a.mu.Lock()
			a.draining = true
			a.mu.Unlock()
			a.log.Info("draining: waiting for producers to close and for the replicator to catch up", "idle", a.cfg.DrainIdle)
		case <-tick.C:
		}
	}
}

// look takes one look at everything and computes what is known so far.
func (a *Auditor) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(max(10*time.Second, 5*a.cfg.Interval), a.cfg.GiveUp))
	defer cancel()
	if err := a.collect(ctx); err != nil {
		return err
	}
	if err := a.lookUpSuspects(ctx); err != nil {
		a.log.Warn("could not look suspects up in the source log", "error", err)
	}
	a.publish(a.evidence.input(a.cfg, false))
	a.store(ctx, storeEvery)
	return nil
}

// collect reads clusters and ledgers in the order that lets every arrival find
// its reservation: ends of the destination's logs, consumers' ledger,
// producers' ledger.
func (a *Auditor) collect(ctx context.Context) error {
	before := a.evidence.now()
	topics := a.evidence.topics()
	dst, err := a.dst.bounds(ctx, topics)
	if err != nil {
		return err
	}
	a.evidence.destination(dst, before)
	if err := a.read(ctx, a.dst, a.takeDestination); err != nil {
		return err
	}
	if err := a.checkTruncations(ctx); err != nil {
		return err
	}
	src, err := a.lookAtSource(ctx, topics)
	if err != nil {
		return err
	}
	if err := a.src.findCuts(ctx, src, a.evidence.truncatedSource); err != nil {
		return err
	}
	if err := a.read(ctx, a.src, a.takeSource); err != nil {
		return err
	}
	a.evidence.notice(a.evidence.now())
	return nil
}

// lookAtSource notes how far the source's logs reach. One look is taken at a time, so that none takes an earlier
// answer than another for a later one.
func (a *Auditor) lookAtSource(ctx context.Context, topics []string) (map[string]topicBounds, error) {
	a.looking.Lock()
	defer a.looking.Unlock()
	began, before := time.Now(), a.evidence.now()
	src, err := a.src.bounds(ctx, topics)
	if err != nil {
		return nil, err
	}
	ahead := a.evidence.source(src, before, a.evidence.now())
	a.looked = began
	a.readFirsts(ctx, src, ahead)
	return src, nil
}

// readFirsts looks at what logs begin with that retention has shortened before their records were seen to arrive:
// which records it took by then is known exactly, and not only between which of the ledger's samples. Costs nothing while the
// replicator is ahead of retention. What cannot be read at once is left to the samples.
func (a *Auditor) readFirsts(ctx context.Context, src map[string]topicBounds, starts map[verdict.TopicPartition]int64) {
	ctx, cancel := context.WithTimeout(ctx, max(a.cfg.Interval, time.Second))
	defer cancel()
	for tp, start := range starts {
		firsts, err := a.src.firsts(ctx, tp, src[tp.Topic].id, start)
		if err != nil {
			a.log.Debug("cannot look at the start of a source log", "topic", tp.Topic, "partition", tp.Partition, "offset", start, "error", err)
			continue
		}
		a.evidence.first(firsts)
	}
}

// watchSource looks at the source's logs while others cannot, since the destination does not answer: retention goes
// on then, and only who has seen when it deleted a record can say later whether the replicator could have read it.
func (a *Auditor) watchSource(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.cfg.Interval):
		}
		a.looking.Lock()
		fresh := time.Since(a.looked) < a.cfg.Interval
		a.looking.Unlock()
		if fresh {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		if _, err := a.lookAtSource(asking, a.evidence.topics()); err != nil {
			a.log.Debug("cannot look at the source's logs", "error", err)
		}
		cancel()
	}
}

// read reads the news of a ledger. A damaged entry, or a ledger that was
// replaced, does not end the audit, but nothing can be said for certain then.
func (a *Auditor) read(ctx context.Context, c *cluster, fn func(ledger.Entry) error) error {
	err := c.reader.ReadToEnd(ctx, fn)
	var damaged *ledger.EntryError
	switch {
	case errors.As(err, &damaged):
		a.evidence.damage(c.side, err)
		return nil
	case errors.Is(err, ledger.ErrReplaced):
		a.evidence.replaced(c.side, err)
	case err == nil:
		a.evidence.damage(c.side, nil)
		return nil
	}
	return fmt.Errorf("read the %s ledger: %w", c.side, err)
}

// publish computes a verdict and makes it the current one.
func (a *Auditor) publish(in *verdict.Input) *verdict.Document {
	events := a.evidence.sortedEvents()
	in.Clock = a.evidence.clock.estimate(a.time.stamps())
	if a.cfg.OneClock {
		in.Clock = &verdict.Clock{One: true}
	}
	a.time.lag(in.Now, a.evidence.consumerLag())
	points := a.time.points()
	in.Latency = a.time.phases(events, in)
	in.Recoveries = recoveries(events, points)
	in.Bottleneck = bottleneck(in, points)
	v := verdict.Compute(in)
	if !in.Final && v.Outcome == verdict.Holds {
		v.Outcome = verdict.CannotSay
		v.Reasons = append(v.Reasons, "the test is still running; nothing is wrong so far")
	}
	v.Notes = slices.Concat(a.cfg.Notes, v.Notes)
	openOutages(&v)
	a.time.state(&v)
	doc := verdict.Document{
		Schema: verdict.Schema, Verdict: v, Timeline: a.time.points(), Events: events,
		Config: a.cfg.Settings, Versions: maps.Clone(a.cfg.Versions),
	}
	a.metrics.set(&v)
	a.metrics.happened(events)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current, a.ready = doc, true
	return &doc
}

// openOutages adds the outages that have not ended to those that an arrival has
// ended.
func openOutages(v *verdict.Verdict) {
	if !v.Final {
		return
	}
	for i := range v.Topics {
		for j := range v.Topics[i].Partitions {
			p := &v.Topics[i].Partitions[j]
			if length := int64(p.RPOSeconds * 1e6); length >= ledger.OutageThreshold {
				p.Outages = append(p.Outages, verdict.Outage{From: v.At - length, To: v.At})
				p.OutageCount++
				p.OutageSeconds += p.RPOSeconds
			}
		}
	}
}

// waiting is what the drain has seen so far.
type waiting struct {
	draining time.Time // since when
	since    time.Time // of the last progress
	progress progress
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// drained says whether the test has come to its end: everything due has
// arrived and the destination has gone quiet, or nothing has moved for
// DrainIdle.
func (a *Auditor) drained(ctx context.Context, w *waiting) bool {
	p, open := a.evidence.progress(a.cfg.DeadAfter)
	if p != w.progress {
		w.progress, w.since = p, time.Now()
	}
	idle := time.Since(w.since)
	if open > 0 {
		return idle >= a.cfg.DrainIdle // a producer that neither closes nor dies
	}
	if idle < a.cfg.Quiet {
		return false
	}
	if idle >= a.cfg.DrainIdle {
		a.log.Info("the replicator has made no more progress", "for", idle.Round(time.Second))
		return true
	}
	t := verdict.Compute(a.evidence.input(a.cfg, true)).Total
	if t.Lost+t.Undelivered+t.Unobserved+t.DestinationLost > 0 || a.evidence.consumerLag() > 0 {
		return false
	}
	if t.Indeterminate == 0 {
		return true
	}
	// Records whose outcome no producer knows may be on their way too: only the
	// source log can say.
	if err := a.scan(ctx); err != nil {
		a.log.Warn("could not read the source log back", "error", err)
		return false
	}
	t = verdict.Compute(a.evidence.input(a.cfg, true)).Total
	return t.Lost+t.Undelivered+t.Unobserved+t.DestinationLost == 0
}

// conclude does the final audit. It comes to a verdict whatever happens: what it
// could not see it cannot say.
func (a *Auditor) conclude(ctx context.Context, interrupted bool, blind error) *verdict.Document {
	if blind == nil {
		blind = a.lastLook(ctx)
	}
	a.time.finish(a.evidence.received())
	in := a.evidence.input(a.cfg, !interrupted && blind == nil)
	if interrupted {
		// What is missing may be on its way.
		in.Doubts = append(in.Doubts, "the audit was stopped before the test had drained")
	}
	if blind != nil {
		a.log.Error("could not look at the clusters at the end", "error", blind)
		in.Doubts = append(in.Doubts, fmt.Sprintf("what became of the test in the end could not be seen: %v", blind))
	}
	doc := a.publish(in)
	if blind == nil {
		a.store(ctx, 0)
	}
	return doc
}

// lastLook sees all that is to be judged.
func (a *Auditor) lastLook(ctx context.Context) error {
	trying, stop := context.WithTimeout(ctx, a.cfg.GiveUp)
	defer stop()
	for {
		topics := len(a.evidence.topics())
		err := a.collect(trying)
		if err == nil {
			if len(a.evidence.topics()) != topics {
				continue // a producer's ledger has named another one just now
			}
			if !a.evidence.vanishing() {
				break
			}
			err = errors.New("a topic is not at the destination any more")
		}
		if trying.Err() != nil {
			return err
		}
		a.log.Warn("cannot look at the clusters; trying again", "error", err)
		select {
		case <-trying.Done():
		case <-time.After(a.cfg.Interval):
		}
	}
	// Consumers must have told of everything up to the ends just taken.
	limit, cancel := context.WithTimeout(ctx, a.cfg.DrainIdle)
	defer cancel()
	for a.evidence.consumerLag() > 0 && limit.Err() == nil {
		if err := a.read(limit, a.dst, a.takeDestination); err != nil && limit.Err() == nil {
			return err
		}
		select {
		case <-limit.Done():
		case <-time.After(a.cfg.Interval / 4):
		}
	}
	if err := a.read(ctx, a.src, a.takeSource); err != nil {
		return err
	}
	a.evidence.notice(a.evidence.now())
	if err := a.scan(ctx); err != nil {
		a.log.Warn("could not read the source log back: attribution stays open", "error", err)
	}
	return a.checkEnds(ctx)
}

// takeDestination takes in one entry of the destination ledger.
func (a *Auditor) takeDestination(e ledger.Entry) error {
	a.evidence.clock.appendedAt(1, e)
	switch e.Key.Kind {
	case ledger.KindReceived:
		r, err := ledger.Restore(e.Payload)
		if err != nil {
			return a.undecodable(a.dst, e, err)
		}
		a.evidence.written(e, r.Updated)
		a.evidence.takeReceived(r)
	case ledger.KindWindow:
		var w ledger.WindowEntry
		if err := ledger.Decode(e.Payload, &w); err != nil {
			return a.undecodable(a.dst, e, err)
		}
		a.time.window(&w)
	}
	return nil
}

// undecodable notes an entry that is whole and yet means nothing to this
// program, such as one of another version. It does not end the audit.
func (a *Auditor) undecodable(c *cluster, e ledger.Entry, err error) error {
	a.evidence.replaced(c.side, fmt.Errorf("entry %s at offset %d: %w", e.Key, e.Offset, err))
	return nil
}

// takeSource takes in one entry of the source ledger.
func (a *Auditor) takeSource(e ledger.Entry) error {
	a.evidence.clock.appendedAt(0, e)
	switch e.Key.Kind {
	case ledger.KindSent:
		var s ledger.Sent
		if err := ledger.Decode(e.Payload, &s); err != nil {
			return a.undecodable(a.src, e, err)
		}
		a.evidence.written(e, s.Updated)
		a.evidence.takeSent(&s)
	case ledger.KindRate:
		var r ledger.Rate
		if err := ledger.Decode(e.Payload, &r); err != nil {
			return a.undecodable(a.src, e, err)
		}
		a.time.rate(&r)
	case ledger.KindAudit:
		if e.Key == a.probeKey() && len(e.Payload) > 0 {
			a.evidence.wasKept()
		}
	}
	return nil
}

// auditKey is where the auditor keeps what cannot be read again.
func (a *Auditor) auditKey() ledger.Key {
	return ledger.Key{Test: a.cfg.TestID, Kind: ledger.KindAudit, Name: "evidence"}
}

// probeKey is where the auditor says in the source ledger that it has kept
// something in the destination's.
func (a *Auditor) probeKey() ledger.Key {
	return ledger.Key{Test: a.cfg.TestID, Kind: ledger.KindAudit, Name: "probe"}
}

// storeEvery is how often the evidence is stored.
const storeEvery = 5 * time.Second

// storeWithin bounds how long a ledger that takes nothing, such as one on a full
// disk, holds the audit up.
const storeWithin = 2 * time.Second

// store keeps the evidence that is gone when it is not kept. The writes are
// also probes of both clusters' clocks.
func (a *Auditor) store(ctx context.Context, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	data, due := a.evidence.encode(every)
	if !due {
		return
	}
	probe, err := a.dst.store.Put(ctx, a.auditKey(), data)
	if err != nil {
		a.log.Warn("could not store the auditor's evidence", "error", err)
		return
	}
	defer a.evidence.stored(len(data)) // when the source's ledger, too, has been told: it alone knows of it should this one go
	a.evidence.clock.auditor(true, probe)
	if probe, err = a.src.store.Put(ctx, a.probeKey(), []byte("kept")); err != nil {
		a.log.Warn("could not probe the source cluster's clock", "error", err)
		return
	}
	a.evidence.clock.auditor(false, probe)
}

// restore reads back what an auditor before this one had kept.
func (a *Auditor) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return a.read(ctx, a.dst, func(e ledger.Entry) error {
		if e.Key == a.auditKey() {
			if err := a.evidence.decode(e.Payload); err != nil {
				return a.undecodable(a.dst, e, err)
			}
			return nil
		}
		return a.takeDestination(e)
	})
}

// checkEnds asks a last time where the destination's logs end: none may end
// below what was read of it.
func (a *Auditor) checkEnds(ctx context.Context) error {
	states := a.evidence.ends()
	now, err := a.dst.bounds(ctx, a.evidence.topics())
	if err != nil {
		return err
	}
	for tp, r := range states {
		if b, ok := now[tp.Topic].partitions[tp.Partition]; ok && now[tp.Topic].id == r.TopicID && b.End < r.Next {
			a.evidence.truncated(r, b.End)
		}
	}
	return nil
}

// checkTruncations asks the destination whether the logs still hold what the
// consumers read last: an election may have cut them since.
func (a *Auditor) checkTruncations(ctx context.Context) error {
	states := a.evidence.ends()
	epochs := map[verdict.TopicPartition]int32{}
	for tp, r := range states {
		if r.LeaderEpoch >= 0 && r.Next > r.Start {
			epochs[tp] = r.LeaderEpoch
		}
	}
	ends, err := a.dst.epochEnds(ctx, epochs)
	if err != nil {
		return err
	}
	for tp, end := range ends {
		if r := states[tp]; end < r.Next {
			a.log.Warn("the destination's log was truncated below what had been read", "topic", tp.Topic, "partition", tp.Partition, "read", r.Next, "end", end)
			a.evidence.truncated(r, end)
		}
	}
	return nil
}

// lookUpSuspects reads those places of the source log where a record was
// skipped, before retention takes them.
func (a *Auditor) lookUpSuspects(ctx context.Context) error {
	spans := a.evidence.suspects()
	var errs []error
	for _, key := range slices.SortedFunc(maps.Keys(spans), ledger.CompareStreams) {
		s := spans[key]
		from, _, err := a.src.scan(ctx, verdict.TopicPartition{Topic: key.Topic, Partition: key.Partition}, s.from, s.to, func(r *scanned) {
			if r.stream == key {
				s.present.Add(r.sequence)
			}
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%d: %w", key.Topic, key.Partition, err))
			continue
		}
		a.evidence.lookedUp(key, s, from)
	}
	return errors.Join(errs...)
}

// maxScans bounds how often a source log is read back: a second time from
// further back if a truncation has put records where they were not expected.
const maxScans = 3

// scan reads the source log of every partition in which something is missing
// or unknown, from the first such record to the end.
func (a *Auditor) scan(ctx context.Context) error {
	var errs []error
	for range maxScans {
		in := a.evidence.input(a.cfg, true)
		arrived := verdict.Arrived(in)
		due := verdict.ScanFrom(in)
		if len(due) == 0 {
			break
		}
		for tp, from := range due {
			scan := verdict.NewScan(from)
			start, end, err := a.src.scan(ctx, tp, from, -1, func(r *scanned) {
				set := arrived[r.stream]
				scan.Observe(r.stream, r.sequence, r.offset, r.intended, set != nil && set.Contains(r.sequence))
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s/%d from offset %d: %w", tp.Topic, tp.Partition, from, err))
				continue
			}
			scan.From = start
			scan.Reach(end)
			a.evidence.scanned(tp, scan)
		}
		if len(errs) > 0 {
			break
		}
	}
	return errors.Join(errs...)
}
