package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/lab/slowdisk"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Exit codes of a test; those of a verdict are the auditor's.
const (
	exitHolds     = 0
	exitBroken    = 1
	exitNoVerdict = 2 // bad usage or environment, or interrupted
	exitCannotSay = 3
)

// toolStop is how long a load tool may take to stop: its own default of 30 s and some.
const toolStop = 60 * time.Second

// Lab is one test on real Kafka: it is a scenario.Target. Its methods are called by one goroutine at a
// time, in the order that scenario.Target has.
type Lab struct {
	Source, Destination *Cluster // set by Start

	cfg    Config
	logger *slog.Logger
	out    *lines
	binary string // of the load tools
	jvm    jvm
	sup    *supervisor
	work   *workDir
	net    network
	logs   string
	// madeOut is the output directory, where this lab made it.
	madeOut  string
	security *security

	mu       sync.Mutex
	now      scenario.Config // what the lab has converged on; guarded by mu
	stopping bool            // guarded by mu

	replicator replicator         // set by Start; nil: none
	copiers    map[string][]*node // its nodes, by role; guarded by mu
	carries    atomic.Bool        // a record has crossed: from now on a node that ends is a finding

	auditor   *tool
	producers []*tool
	consumers []*tool
	expected  int // producers that the test has had at most

	life    context.Context // ends with Stop
	endLife context.CancelFunc
	faults  map[string]*underway // by side
	slow    map[diskOf]bool      // whose disk is to be slowed down some time
	clocks  map[string]bool      // side whose load tools' clocks are to be set wrong some time
	healers sync.WaitGroup

	keepLogs atomic.Bool
	stopped  bool
	sends    float64 // bytes that the load may come to
}

// What a Lab is.
var (
	_ scenario.Target    = (*Lab)(nil)
	_ scenario.Equipped  = (*Lab)(nil)
	_ scenario.Witness   = (*Lab)(nil)
	_ scenario.Describer = (*Lab)(nil)
	_ scenario.Spacious  = (*Lab)(nil)
	_ scenario.Ready     = (*Lab)(nil)
)

// New returns a lab in which nothing is made yet. Progress is written to out, a line each.
func New(cfg Config, logger *slog.Logger, out io.Writer) (*Lab, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg, logger: logger, out: &lines{w: out, start: time.Now()}, faults: map[string]*underway{}, slow: map[diskOf]bool{}, clocks: map[string]bool{}, copiers: map[string][]*node{}}
	if err := l.chooseOcean(); err != nil {
		return nil, err
	}
	l.life, l.endLife = context.WithCancel(context.Background())
	return l, nil
}

// chooseOcean finds out whether the ocean that is asked for can be had.
func (l *Lab) chooseOcean() error {
	if l.cfg.existing() {
		l.cfg.Ocean = OceanOff // processes in namespaces of ours would not reach the clusters
	}
	if l.cfg.Ocean != OceanAuto && l.cfg.Ocean != OceanTUN {
		return nil
	}
	n, err := ocean.New(l.cfg.ocean())
	if err == nil {
		l.cfg.Ocean = OceanTUN
		return n.Close()
	}
	if l.cfg.Ocean == OceanTUN || !errors.Is(err, ocean.ErrUnavailable) {
		return fmt.Errorf("the ocean: %w", err)
	}
	if l.cfg.Loss > 0 {
		return fmt.Errorf("the ocean: loss is %v, which TCP proxies, the ocean that is left, cannot have: %w", l.cfg.Loss, err)
	}
	l.cfg.Ocean = OceanProxy
	l.out.say("TCP proxies stand in for the ocean, and cannot lose packets: %v", err)
	return nil
}

// KafkaJars makes Kafka's jars available, checks included, and returns their class path. They come from
// Maven Central where they are missing.
func KafkaJars(ctx context.Context, cfg Config, out io.Writer) (string, error) {
	_, classPath, err := findKafka(ctx, cfg, (&lines{w: out, start: time.Now()}).say)
	return classPath, err
}

func findKafka(ctx context.Context, cfg Config, say func(format string, args ...any)) (j java, classPath string, err error) {
	if j, err = findJava(ctx, cfg.Java); err != nil {
		return j, "", err
	}
	cache, err := cfg.cacheDir()
	if err != nil {
		return j, "", err
	}
	if classPath, err = resolveJars(ctx, cache, j, say); err != nil {
		return j, "", err
	}
	say("Java %s (%s), jars of Kafka %s as they should be", j.version, j.path, kafkaVersion)
	return j, classPath, nil
}

// Name is lab.
func (*Lab) Name() string { return "lab" }

// ReplicatorName is empty: a Config names the replicator.
func (*Lab) ReplicatorName(scenario.Config) string { return "" }

// Versions are those of what the lab runs, once it has looked.
func (l *Lab) Versions() map[string]string {
	versions := map[string]string{"kafka": kafkaVersion, "mirrormaker2": kafkaVersion}
	for name, i := range map[string]installation{scenario.UReplicator: l.cfg.uReplicator(), scenario.Brooklin: l.cfg.brooklin()} {
		if v := i.version(); v != "" {
			versions[name] = v
		}
	}
	if l.jvm.java.version != "" {
		versions["java"] = l.jvm.java.version
	}
	return versions
}

// Provides returns nil for a feature that the lab has, and else why not.
func (l *Lab) Provides(feature string) error {
	switch feature {
	case scenario.FeatureOcean:
		if l.cfg.Ocean == OceanOff {
			return errNoOcean
		}
		return nil
	case scenario.FeaturePackets:
		if l.cfg.Ocean != OceanTUN {
			return errNoPackets
		}
		return nil
	case scenario.FeatureSlowDisk:
		if err := trySlowDisk(l.logger); err != nil {
			return fmt.Errorf("%s: %w: %w", feature, scenario.ErrCannotPlay, err)
		}
		return nil
	case scenario.FeatureClock:
		return nil
	case scenario.FeatureRoot:
		if os.Geteuid() == 0 {
			return nil
		}
	}
	return fmt.Errorf("%s: %w: the lab has none", feature, scenario.ErrCannotPlay)
}

// trySlowDisk returns why this machine has no disk that can be slowed down, or nil.
func trySlowDisk(logger *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", workDirPattern+"try-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	backing, mount := filepath.Join(dir, "disk"), filepath.Join(dir, "mount")
	if err := errors.Join(os.Mkdir(backing, 0o755), os.Mkdir(mount, 0o755)); err != nil {
		return err
	}
	d, err := slowdisk.Mount(backing, mount, logger)
	if err != nil {
		return err
	}
	return d.Close()
}

// config is what the lab has converged on, or is converging on.
func (l *Lab) config() scenario.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *Lab) turnTo(c scenario.Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = c
}

// prepare checks what can be checked without starting anything: Java, the Kafka jars, the load tools'
// executable, the output directory, room on the disk. It makes the lab's directories; Stop removes them.
func (l *Lab) prepare(ctx context.Context) error {
	var err error
	if l.binary, err = findBinary(l.cfg.LoadgenBinary); err != nil {
		return err
	}
	if err := l.findPrograms(ctx, l.config()); err != nil {
		return err
	}
	if err := l.checkRoom(l.config()); err != nil {
		return err
	}
	if err := l.makeDirectories(); err != nil {
		return err
	}
	l.sup = newSupervisor(l.work.path, l.logs)
	if l.cfg.Evidence != "" {
		l.sup.kept = evidenceLogs(l.cfg.Evidence)
	}
	l.jvm.temp, l.jvm.logs, l.jvm.log4j = l.work.path, l.logs, filepath.Join(l.configs(), "log4j.properties")
	if err := os.WriteFile(l.jvm.log4j, []byte(log4jProperties), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

func findBinary(path string) (string, error) {
	if path == "" {
		return os.Executable()
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("the load tools' executable: %w", err)
	}
	return filepath.Abs(found)
}

// Ready says whether Java, Kafka's jars, which are got where they can be, and Prometheus are there, whether clusters that
// exist can be used, and whether there is room on the disks.
func (l *Lab) Ready(ctx context.Context, baseline scenario.Config) error {
	if err := l.findPrograms(ctx, baseline); err != nil {
		return err
	}
	if l.cfg.existing() {
		access := l.cfg.Access
		access.BootstrapServers = l.cfg.SourceServers
		source := usable(ctx, Source, access)
		access.BootstrapServers = l.cfg.DestinationServers
		if err := errors.Join(source, usable(ctx, Destination, access)); err != nil {
			return err
		}
	}
	if err := l.checkRoom(baseline); err != nil {
		return fmt.Errorf("%w: %w", scenario.ErrCannotPlay, err)
	}
	return nil
}

// findPrograms makes Java, Kafka's jars and Prometheus available, once, where a test needs them.
func (l *Lab) findPrograms(ctx context.Context, c scenario.Config) (err error) {
	if l.cfg.Prometheus {
		if _, err := findPrometheus(); err != nil {
			return err
		}
	}
	if l.jvm.classPath == "" && (!l.cfg.existing() || c.Destination.Replicator != scenario.NoReplicator) {
		l.jvm.java, l.jvm.classPath, err = findKafka(ctx, l.cfg, l.out.say)
	}
	return err
}

// leastRoom is what clusters write beside the load, and some: brokers that run out of disk end, which would be a
// fault that nobody asked for.
const leastRoom = 2 << 30

// Sends tells the lab how many bytes the load may come to. It looks for room for them before it starts anything.
func (l *Lab) Sends(bytes float64) { l.sends = bytes }

// outputRoom is what logs and results may come to.
const outputRoom = 100 << 20

// checkRoom returns an error where the disk of temporary files has too little left for the load in all its replicas,
// or that of the output for logs and results.
func (l *Lab) checkRoom(c scenario.Config) error {
	const anotherTemp = "set TMPDIR to a directory on another disk"
	var errs []error
	if l.cfg.existing() {
		errs = append(errs, checkRoom(os.TempDir(), outputRoom, "what the load tools and the replicator write", anotherTemp))
	} else {
		copies := c.Source.ReplicationFactor + c.Destination.ReplicationFactor
		need := l.sends*float64(copies) + leastRoom
		errs = append(errs, checkRoom(os.TempDir(), uint64(min(need, 1<<62)), fmt.Sprintf("%d MiB of records in %d replicas, and 2 GiB for all else", uint64(l.sends)>>20, copies),
			anotherTemp+", or send less or for less long"))
	}
	output, err := filepath.Abs(l.cfg.Output)
	if err != nil {
		return err
	}
	for !exists(output) && output != filepath.Dir(output) {
		output = filepath.Dir(output)
	}
	return errors.Join(append(errs, checkRoom(output, outputRoom, "logs and results", "or name an --output on another disk"))...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkRoom returns an error, with what else can be done than to make room, where a directory's disk has not so many
// bytes left.
func checkRoom(dir string, least uint64, why, instead string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("room on the disk of %s: %w", dir, err)
	}
	if free := s.Bavail * uint64(s.Bsize); free < least {
		return fmt.Errorf("the disk of %s has %d MiB left, and the run needs %d MiB there (%s): make room, %s", dir, free>>20, least>>20, why, instead)
	}
	return nil
}

func (l *Lab) makeDirectories() error {
	output, err := filepath.Abs(l.cfg.Output) // children run elsewhere
	if err != nil {
		return err
	}
	l.cfg.Output = output
	if _, err := os.Stat(output); errors.Is(err, os.ErrNotExist) {
		l.madeOut = output
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return fmt.Errorf("make the output directory: %w", err)
	}
	// A directory of its own each time: what else is in the output directory is the user's.
	l.logs, err = os.MkdirTemp(output, "logs-"+time.Now().Format("20060102-150405")+"-")
	if err != nil {
		return fmt.Errorf("write into the output directory: %w", err)
	}
	if err := os.Mkdir(l.configs(), 0o755); err != nil {
		return fmt.Errorf("make the directory of configurations: %w", err)
	}
	l.work, err = newWorkDir(os.TempDir())
	return err
}

// configs is where the configuration files are, which say with the logs what was tested.
func (l *Lab) configs() string { return filepath.Join(l.logs, "config") }

// Start makes both clusters as the baseline has them, the topics under load, the replicator, and puts
// the load on. It returns when everything works: all brokers joined, a record has crossed, producers,
// consumers and auditor run.
func (l *Lab) Start(ctx context.Context, baseline scenario.Config) error {
	if err := l.Check([]scenario.Config{baseline}); err != nil {
		return err
	}
	l.turnTo(baseline)
	if err := l.prepare(ctx); err != nil {
		return err
	}
	if err := l.startClusters(ctx); err != nil {
		return err
	}
	err := l.step(ctx, fmt.Sprintf("topics %s: %d partitions in the source, %d in the destination", strings.Join(baseline.Source.Topics, ", "), baseline.Source.Partitions, baseline.Destination.Partitions), func(ctx context.Context) error {
		if err := l.Source.applyTopics(ctx, baseline.Source.Topics, baseline.Source.Partitions, makeTopics); err != nil {
			return err
		}
		return l.Destination.applyTopics(ctx, baseline.Destination.Topics, baseline.Destination.Partitions, makeTopics)
	})
	if err != nil {
		return err
	}
	if l.replicator = l.newReplicator(baseline.Destination.Replicator); l.replicator != nil {
		if err := l.step(ctx, l.replicator.title()+" carries records", l.startReplicator); err != nil {
			return err
		}
	}
	l.carries.Store(true)
	return l.startLoad(ctx)
}

func (l *Lab) startClusters(ctx context.Context) (err error) {
	if l.net, err = openNetwork(l.cfg); err != nil {
		return err
	}
	if l.config().Secure {
		if l.security, err = newSecurity(filepath.Join(l.work.path, "security")); err != nil {
			return err
		}
	}
	if err := l.startMonitor(ctx); err != nil {
		return err
	}
	if l.cfg.existing() {
		return l.reachClusters(ctx)
	}
	dirs := l.dirs()
	if l.Source, err = newCluster(Source, l.config().Source.Cluster, l.cfg.StartTimeout, dirs, l.sup, l.net, l.jvm, l.security); err != nil {
		return err
	}
	if l.Destination, err = newCluster(Destination, l.config().Destination.Cluster, l.cfg.StartTimeout, dirs, l.sup, l.net, l.jvm, l.security); err != nil {
		return err
	}
	err = l.step(ctx, fmt.Sprintf("%d source and %d destination brokers, a ZooKeeper each", l.config().Source.Brokers, l.config().Destination.Brokers), func(ctx context.Context) error {
		return l.both(ctx, func(ctx context.Context, c *Cluster) error { return c.start(ctx) })
	})
	if err != nil {
		return err
	}
	l.out.say("source %s", strings.Join(l.Source.BootstrapServers(outside), ","))
	l.out.say("destination %s", strings.Join(l.Destination.BootstrapServers(outside), ","))
	return nil
}

// dirs are where the clusters' files are.
func (l *Lab) dirs() directories {
	return directories{data: l.work.path, configs: l.configs(), logger: l.logger,
		slow: func(side string, broker int) bool { return l.slow[diskOf{side, broker}] }}
}

// reachClusters takes those that exist.
func (l *Lab) reachClusters(ctx context.Context) (err error) {
	access, err := l.cfg.access(filepath.Join(l.work.path, "security"))
	if err != nil {
		return err
	}
	access.BootstrapServers = l.cfg.SourceServers
	if l.Source, err = existingCluster(ctx, Source, l.config().Source.Cluster, access, l.cfg.StartTimeout, l.sup, l.net); err != nil {
		return err
	}
	access.BootstrapServers = l.cfg.DestinationServers
	if l.Destination, err = existingCluster(ctx, Destination, l.config().Destination.Cluster, access, l.cfg.StartTimeout, l.sup, l.net); err != nil {
		return err
	}
	l.out.say("both clusters can be used")
	return nil
}

// both does something to both clusters at once. The first error ends the other's.
func (l *Lab) both(ctx context.Context, do func(context.Context, *Cluster) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make(chan error, 2)
	for _, c := range []*Cluster{l.Source, l.Destination} {
		go func() {
			err := do(ctx, c)
			errs <- err
			if err != nil {
				cancel(err)
			}
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		return first // the other only tells of the cancellation
	}
	return second
}

func (l *Lab) cluster(side string) *Cluster {
	if side == Source {
		return l.Source
	}
	return l.Destination
}

// Mark tells the auditor of something that the lab did not do itself. An event without a time is one
// of now.
func (l *Lab) Mark(ctx context.Context, event verdict.Event) error {
	if l.auditor == nil {
		return fmt.Errorf("mark %s: nothing has been started, so there is nobody to tell", event.Kind)
	}
	if event.Time == 0 {
		event.Time = time.Now().UnixMicro()
	}
	if err := l.auditor.call(ctx, http.MethodPost, "/events", event, nil); err != nil {
		return fmt.Errorf("tell the auditor of %s: %w", event.Kind, err)
	}
	return nil
}

// event tells the auditor what the lab did and when.
func (l *Lab) event(ctx context.Context, at time.Time, kind, side, detail string) error {
	return l.Mark(ctx, verdict.Event{Time: at.UnixMicro(), Kind: kind, Side: side, Detail: detail})
}

// Status returns the verdict so far.
func (l *Lab) Status(ctx context.Context) (*verdict.Document, error) {
	if l.auditor == nil {
		return nil, errors.New("verdict so far: no load has been started")
	}
	if l.sup.failed.Err() != nil {
		return nil, context.Cause(l.sup.failed)
	}
	var doc verdict.Document
	if err := l.auditor.call(ctx, http.MethodGet, "/verdict", nil, &doc); err != nil {
		return nil, fmt.Errorf("verdict so far: %w", err)
	}
	return &doc, nil
}

// Drain ends every fault that still lasts, stops the producers, has the auditor finish, and returns its
// verdict, which is in verdict.json of the output directory too.
func (l *Lab) Drain(ctx context.Context) (*verdict.Document, error) {
	if l.auditor == nil {
		return nil, errors.New("drain: no load has been started")
	}
	if err := l.heal(ctx); err != nil {
		return nil, err
	}
	err := l.step(ctx, "producers have stopped", func(ctx context.Context) error { return l.stopTools(ctx, l.producers) })
	if err != nil {
		return nil, err
	}
	var doc *verdict.Document
	err = l.step(ctx, "the auditor has its verdict", func(ctx context.Context) (err error) {
		l.auditor.asked.Store(true)
		if err := l.auditor.call(ctx, http.MethodPost, "/drain", nil, nil); err != nil {
			return fmt.Errorf("ask the auditor to drain: %w", err)
		}
		bounded, cancel := context.WithTimeoutCause(ctx, l.cfg.DrainTimeout, fmt.Errorf("no verdict within %s", l.cfg.DrainTimeout))
		defer cancel()
		if err := l.auditor.wait(bounded); err != nil {
			return err
		}
		switch l.auditor.cmd.ProcessState.ExitCode() {
		case exitHolds, exitBroken, exitCannotSay:
			doc, err = readVerdict(filepath.Join(l.cfg.Output, "verdict.json"))
			return err
		}
		return fmt.Errorf("the auditor came to no verdict: %w", l.auditor.ended())
	})
	if err != nil || doc.Verdict.Outcome != verdict.Holds {
		l.keepLogs.Store(true)
	}
	return doc, err
}

func readVerdict(path string) (*verdict.Document, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the auditor's verdict: %w", err)
	}
	defer file.Close()
	return verdict.Read(file)
}

// step runs one step, says how long it took, and has the logs kept where it failed.
func (l *Lab) step(ctx context.Context, what string, do func(context.Context) error) error {
	during, end := l.sup.during(ctx)
	defer end()
	start := time.Now()
	err := do(during)
	if err == nil {
		l.out.say("%s (%.1f s)", what, time.Since(start).Seconds())
		return nil
	}
	if ctx.Err() == nil {
		l.keepLogs.Store(true)
		l.logger.Debug("step failed", "step", what, "err", err)
	}
	return err
}

// Stop ends every process and removes what the lab has made. The logs stay when a step failed for
// any other reason than its context, or the verdict does not hold; with Keep, the clusters' data too.
func (l *Lab) Stop(context.Context) error {
	if l.stopped {
		return nil
	}
	l.stopped = true
	l.mu.Lock()
	l.stopping = true // from here on nothing begins in the background
	l.mu.Unlock()
	l.endLife()
	l.Source.close()
	l.Destination.close()
	l.stopMonitor()
	if l.sup != nil {
		l.sup.stop()
	}
	l.healers.Wait()
	errs := []error{l.Source.unmountAll(), l.Destination.unmountAll()}
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	if l.work != nil {
		errs = append(errs, l.work.remove(l.cfg.Keep))
		if l.cfg.Keep {
			l.out.say("data of the clusters are kept in %s", l.work.path)
		}
	}
	if l.logs != "" {
		if l.keepLogs.Load() || l.cfg.KeepLogs || l.cfg.Keep {
			if l.cfg.Evidence == "" {
				l.out.say("logs are kept in %s", l.logs)
			}
		} else {
			errs = append(errs, os.RemoveAll(l.logs))
		}
	}
	if l.madeOut != "" {
		// Only where nothing is in it: no verdict, no logs.
		if err := syscall.Rmdir(l.madeOut); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			errs = append(errs, fmt.Errorf("remove %s: %w", l.madeOut, err))
		}
	}
	return errors.Join(errs...)
}

// ClientOptions are those of clients of a side's cluster, once it has been started.
func (l *Lab) ClientOptions(side string) []kgo.Opt { return l.cluster(side).Options() }

// Evidence copies the logs of all processes and the configurations that were made for them below dir, and
// writes the last metrics of those load tools that run, where those of before the drain are already.
func (l *Lab) Evidence(ctx context.Context, dir string) error {
	if l.logs == "" {
		return nil
	}
	metrics := filepath.Join(dir, "metrics")
	return errors.Join(os.CopyFS(evidenceLogs(dir), os.DirFS(l.logs)), os.MkdirAll(metrics, 0o755), l.Metrics(ctx, metrics))
}

// evidenceLogs is where the logs are in a directory of evidence.
func evidenceLogs(dir string) string { return filepath.Join(dir, "logs") }

// Metrics writes the metrics of those load tools that run below dir, a file each.
func (l *Lab) Metrics(ctx context.Context, dir string) error {
	var errs []error
	for _, t := range slices.Concat([]*tool{l.auditor}, l.producers, l.consumers) {
		if t == nil || !t.alive() {
			continue
		}
		text, err := t.metrics(ctx)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.name, " ", "-")+".prom"), text, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// request sends an HTTP request, with body as JSON, whose answer must be a success, and is read into
// answer: as JSON, or as it is into a *[]byte.
func request(ctx context.Context, client *http.Client, method, url string, body, answer any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, &b)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what there is of it
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, bytes.TrimSpace(text))
	}
	switch answer := answer.(type) {
	case nil:
		return nil
	case *[]byte:
		*answer, err = io.ReadAll(resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// lines writes whole lines, from several goroutines, those of the lab with the time since its start.
type lines struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func (l *lines) say(format string, args ...any) {
	at := time.Since(l.start).Round(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	// Nobody reads a broken pipe; the run goes on for its verdict.
	_, _ = fmt.Fprintf(l.w, "%3d:%02d  %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
