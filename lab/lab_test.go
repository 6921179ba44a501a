package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// testOutput passes the lab's lines on to the test's log.
type testOutput struct{ t *testing.T }

func (o testOutput) Write(p []byte) (int, error) {
	o.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// TestRealKafkaConverges has a lab of clusters with TLS and SASL, and an ocean between them where there is
// root, follow a configuration that grows and shrinks, and go through faults that end by themselves.
func TestRealKafkaConverges(t *testing.T) {
	r := newReal(t)
	cfg := r.lab.cfg
	cfg.Ocean, cfg.Delay = OceanAuto, 10*time.Millisecond
	warnings := make(chan string, 100)
	l, err := New(cfg, slog.New(warned{slog.DiscardHandler, warnings}), testOutput{t})
	r.must(err)
	r.lab = l
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	base := small()
	base.Secure = true
	base.setTopics("load")
	base.TopicPattern = "load.*"
	base.Source.Brokers, base.Destination.Brokers, base.Destination.ReplicationFactor = 2, 1, 1
	base.Destination.ReplicatorConfig["destination.scheduled.rebalance.max.delay.ms"] = "1000"

	grown := base.Config
	grown.Source.Brokers, grown.Source.Throughput.PerSecond, grown.Source.MessageSize = 3, 100, 500
	grown.Source.Topics, grown.Destination.Topics = []string{"load", "load2"}, []string{"load", "load2"}
	grown.Source.Partitions, grown.Destination.Partitions, grown.Destination.PartitionGrowth = 8, 8, scenario.GrowthDestinationFirst
	grown.Destination.Workers, grown.Source.Producers, grown.Destination.Consumers = 2, 2, 2
	grown.Source.Retention *= 2
	grown.Source.KafkaConfig = map[string]string{"num.io.threads": "3"} // which reaches brokers that start

	short := scenario.Duration(3 * time.Second)
	faulty := grown
	faulty.Source.Fault = scenario.Fault{Kind: "broker-slow-disk", Victims: []int{0}, Latency: scenario.Duration(20 * time.Millisecond), Duration: short, Run: 1}
	faulty.Destination.Fault = scenario.Fault{Kind: "region-partition", Duration: short, Run: 1}
	if err := l.Provides(scenario.FeatureSlowDisk); err != nil {
		t.Logf("no slow disk here, so a pause takes its place: %v", err)
		faulty.Source.Fault = scenario.Fault{Kind: "broker-pause", Victims: []int{0}, Duration: short, Run: 1}
	}
	if err := l.Provides(scenario.FeatureOcean); err != nil {
		t.Logf("no ocean here, so a pause takes its place: %v", err)
		faulty.Destination.Fault = scenario.Fault{Kind: "broker-pause", Victims: []int{0}, Duration: short, Run: 1}
	}
	worse := faulty
	worse.Source.Fault = scenario.Fault{Kind: "broker-replace", Victims: []int{1}, Run: 2}
	worse.Destination.Fault = scenario.Fault{Kind: "worker-kill", Victims: []int{1}, Run: 2}
	fewer := worse
	fewer.Source.Brokers, fewer.Destination.Workers, fewer.Source.Producers = 2, 1, 1
	fewer.Source.Fault, fewer.Destination.Fault = scenario.Fault{}, scenario.Fault{}
	r.must(l.Check([]scenario.Config{base.Config, grown, faulty, worse, fewer}))

	r.start(base.Config)
	t.Log("more of everything")
	r.converge(grown)
	for _, c := range []*Cluster{l.Source, l.Destination} {
		for _, topic := range grown.Source.Topics {
			if n, err := c.partitions(t.Context(), topic); err != nil || n != 8 {
				t.Errorf("%s has %d partitions of %s, want 8: %v", c.side, n, topic, err)
			}
		}
	}
	r.arrives("load2")

	t.Log("faults that are over at once, or end by themselves")
	for _, next := range []scenario.Config{faulty, worse} {
		r.converge(next)
		r.event(next.Source.Fault.Kind + "-end source")
		r.event(next.Destination.Fault.Kind + "-end destination")
	}
	if b, err := l.Source.broker(0); err == nil && b.disk != nil && b.disk.Delayed() == 0 {
		t.Error("the slow disk has delayed nothing")
	}
	t.Log("a broker that ends while it starts")
	r.endsWhileItStarts(1, warnings)
	r.must(l.Source.WaitInSync(t.Context(), l.cfg.StartTimeout, 1, "load", "load2")) // else the broker that goes next may have the only copy

	t.Log("and back")
	r.converge(fewer)
	r.must(l.Source.WaitWithout(t.Context(), l.cfg.StartTimeout, 2, "load"))
	for broker, want := range map[string]bool{"0": false, "1": true} {
		config, err := os.ReadFile(filepath.Join(l.configs(), "source-broker-"+broker+".properties"))
		if r.must(err); strings.Contains(string(config), "num.io.threads=3\n") != want || strings.Contains(string(config), "password=") {
			t.Errorf("the configuration of broker %s, started after the settings changed: %t\n%s", broker, want, config)
		}
	}
	if n := len(l.Source.BootstrapServers(outside)); n != 2 {
		t.Errorf("%d source brokers, want 2", n)
	}

	evidence := t.TempDir()
	r.must(l.Evidence(t.Context(), evidence))
	for _, name := range []string{"logs/mirrormaker2-1.log", "logs/config/source-broker-2.properties", "metrics/auditor.prom", "metrics/producer-0.prom"} {
		if info, err := os.Stat(filepath.Join(evidence, name)); err != nil || info.Size() == 0 {
			t.Errorf("no evidence %s: %v", name, err)
		}
	}
	r.drain(fewer)
	r.stop()
}

// warned is a log of which only the warnings are heard.
type warned struct {
	slog.Handler
	warnings chan<- string
}

func (warned) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (w warned) Handle(_ context.Context, r slog.Record) error {
	w.warnings <- r.Message
	return nil
}

// endsWhileItStarts has a source broker find its disk in use when it returns, until it has ended and the lab has said so.
func (r *real) endsWhileItStarts(id int, warnings <-chan string) {
	r.Helper()
	c := r.lab.Source
	b, err := c.broker(id)
	r.must(err)
	r.must(c.down(b))
	lock, err := os.OpenFile(filepath.Join(c.data(b), ".lock"), os.O_RDWR, 0)
	r.must(err)
	defer lock.Close()
	// Java's locks are those of fcntl.
	r.must(syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}))
	for len(warnings) > 0 {
		<-warnings
	}
	go func() {
		<-warnings
		lock.Close()
	}()
	r.must(c.returns(r.Context(), b))
	first, err := os.ReadFile(b.proc.log)
	if r.must(err); !strings.Contains(string(first), "Failed to acquire lock on file .lock") {
		r.Errorf("broker %d did not end while it started", id)
	}
}

type testConfig struct{ scenario.Config }

func (c *testConfig) setTopics(name string) {
	c.Source.Topics, c.Destination.Topics, c.TopicPattern = []string{name}, []string{name}, PatternOf([]string{name})
}

// real is a lab on real Kafka.
type real struct {
	*testing.T
	lab          *Lab
	temp, output string
}

func newReal(t *testing.T) *real {
	r := &real{T: t, temp: t.TempDir(), output: filepath.Join(t.ArtifactDir(), "report")}
	t.Setenv("TMPDIR", r.temp)
	cfg := defaults()
	cfg.DrainIdle = 10 * time.Second
	cfg.Output = r.output
	cfg.LoadgenBinary = loadgen(t)
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	r.must(err)
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r.lab = l
	return r
}

func (r *real) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *real) start(base scenario.Config) {
	r.Helper()
	r.must(r.lab.Start(r.Context(), base))
	want := base.Source.Brokers + base.Destination.Brokers + 2 + base.Destination.Workers + base.Source.Producers + base.Destination.Consumers + 1
	if n := len(leftovers(r.T, r.lab.work.path)); n != want {
		r.Errorf("%d processes run, want %d: brokers, 2 ZooKeepers, workers, producers, consumers and auditor", n, want)
	}
}

func (r *real) converge(next scenario.Config) {
	r.Helper()
	r.must(r.lab.Converge(r.Context(), next))
}

// event waits for an event, written as "kind side".
func (r *real) event(want string) {
	r.Helper()
	r.must(await(r.Context(), 3*time.Minute, want, func(ctx context.Context) error {
		doc, err := r.lab.Status(ctx)
		if err == nil && !strings.Contains(events(doc), want) {
			err = fmt.Errorf("events %s", events(doc))
		}
		return err
	}))
}

// arrives waits until a topic has records at the destination.
func (r *real) arrives(topic string) {
	r.Helper()
	r.must(await(r.Context(), 3*time.Minute, topic, func(ctx context.Context) error {
		doc, err := r.lab.Status(ctx)
		if err != nil {
			return err
		}
		for _, t := range doc.Verdict.Topics {
			if t.Name == topic && t.Counts.Received > 0 {
				return nil
			}
		}
		return errors.New("nothing has arrived")
	}))
}

func events(doc *verdict.Document) string {
	var all []string
	for _, e := range doc.Events {
		all = append(all, e.Kind+" "+e.Side)
	}
	return strings.Join(all, ", ")
}

// drain compares the verdict with what the oracle reads in both raw logs.
func (r *real) drain(c scenario.Config) *verdict.Document {
	r.Helper()
	doc, err := r.lab.Drain(r.Context())
	r.must(err)
	reading, end := context.WithTimeout(r.Context(), 3*time.Minute)
	defer end()
	truth, differences := oracletest.Compare(reading, r.T, doc, r.lab.Source.Options(), r.lab.Destination.Options(), verified(c), r.lab.expected)
	for _, d := range differences {
		r.Errorf("verdict and oracle differ: %s", d)
	}
	r.Logf("the oracle: %+v", truth.Total)
	if !exists(filepath.Join(r.output, "report.html")) {
		r.Error("there is no report")
	}
	return doc
}

// stop sees that nothing is left but verdict and report, and the logs of a verdict that does not hold.
func (r *real) stop() {
	r.Helper()
	r.must(r.lab.Stop(r.Context()))
	waitNoLeftovers(r.T, r.lab.work.path)
	if left, _ := os.ReadDir(r.temp); len(left) > 0 {
		r.Errorf("left in the temporary directory: %v", left)
	}
	left, err := os.ReadDir(r.output)
	r.must(err)
	for _, file := range left {
		if file.IsDir() && !r.lab.keepLogs.Load() {
			r.Errorf("left in the output directory: %v", left)
		}
	}
}

// TestRunThatDiesKeepsItsLogs has a Java that is new enough and yet runs nothing.
func TestRunThatDiesKeepsItsLogs(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Output = filepath.Join(t.TempDir(), "report")
	cfg.Java = script(t, t.TempDir(), "java", `case "$*" in *-version*) echo 'openjdk version "17"';; *) echo no more memory; exit 9;; esac`)
	var out bytes.Buffer
	l, err := New(cfg, slog.New(slog.DiscardHandler), &out)
	if err != nil {
		t.Fatal(err)
	}
	code, err := Run(t.Context(), l, Test{Baseline: small().Config, Kill: None})
	if code != 2 || err == nil {
		t.Fatalf("exit code %d, error %v", code, err)
	}
	for _, want := range []string{"zookeeper ended unasked", "exit status 9", "no more memory", cfg.Output} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	_, logs, said := strings.Cut(out.String(), "logs are kept in ")
	logs = strings.TrimSpace(logs)
	// Either side's may have been the first; the other is killed, perhaps before it said anything.
	var kept []byte
	for _, side := range []string{Source, Destination} {
		text, _ := os.ReadFile(filepath.Join(logs, side+"-zookeeper.log"))
		kept = append(kept, text...)
	}
	if !said || !strings.Contains(string(kept), "no more memory") {
		t.Errorf("the logs in %s say %q; the lab said:\n%s", logs, kept, out.String())
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

// taken is a network in which something else listens where a broker is to be.
type taken struct {
	*loopback
	at string
}

func (n taken) place(side, name string, port int) (seat, error) {
	if port == kafkaPort {
		return here(n.at), nil
	}
	return n.loopback.place(side, name, port)
}

// TestPortInUseIsNamed has a real broker whose port another program has taken. What it says about that is long past
// when it ends.
func TestPortInUseIsNamed(t *testing.T) {
	free, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp4", address(free[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Output = filepath.Join(t.TempDir(), "report")
	l := testLab(t, cfg)
	base := small().Config
	base.Source.Brokers, base.Source.ReplicationFactor = 1, 1
	l.turnTo(base)
	err = l.prepare(t.Context())
	if err == nil {
		n := taken{&loopback{ports: ports{used: map[int]bool{}}}, other.Addr().String()}
		if l.Source, err = newCluster(Source, base.Source.Cluster, cfg.StartTimeout, l.dirs(), l.sup, n, l.jvm, nil); err == nil {
			err = l.step(t.Context(), "a broker", l.Source.start)
		}
	}
	contains(t, err, "source broker 0 ended unasked", "exit status 1", "another program has taken a port", "run it again",
		"failed to bind to "+other.Addr().String()+": Address already in use", l.logs)
	if err := l.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	waitNoLeftovers(t, temp)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

// TestInterruptedRunLeavesNothing ends the context while real brokers start.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	base := small()
	base.Source.Brokers, base.Destination.Brokers = 1, 1
	base.Source.ReplicationFactor, base.Destination.ReplicationFactor = 1, 1
	cfg.Output = filepath.Join(t.TempDir(), "report")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		code, err := Run(ctx, l, Test{Baseline: base.Config, Kill: None})
		if code != 2 {
			err = fmt.Errorf("exit code %d, error %w", code, err)
		}
		ended <- err
	}()
	err = await(t.Context(), time.Minute, "the lab's processes", func(context.Context) error {
		select {
		case err := <-ended:
			t.Fatalf("the lab ended before it was told to: %v", err)
		default:
		}
		if n := len(leftovers(t, temp)); n < 4 {
			return fmt.Errorf("%d processes run, want 2 brokers and 2 ZooKeepers", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("Ctrl-C"))
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	waitNoLeftovers(t, temp)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
	if exists(cfg.Output) {
		t.Errorf("%s is still there", cfg.Output)
	}
}

// loadgen builds the load tools.
func loadgen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "loadgen")
	if out, err := exec.Command("go", "build", "-o", path, "../loadgen").CombinedOutput(); err != nil {
		t.Fatalf("build the load tools: %v\n%s", err, out)
	}
	return path
}
