package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Exit codes of the lab; those of a verdict are the auditor's.
const (
	exitHolds     = 0
	exitBroken    = 1
	exitNoVerdict = 2 // bad usage or environment, or interrupted
	exitCannotSay = 3
)

// producerStop is how long a producer may take to stop: its own default of 30 s and some.
const producerStop = 60 * time.Second

// Lab is one test on real Kafka, step by step: New, Start, Load, any number of Kill and Return,
// Drain, and Stop in any case. Run does them all; a test may do them itself. Its methods are not
// meant for use by several goroutines at once.
type Lab struct {
	Source, Destination *Cluster // set by New, running after Start
	TestID              string   // the test's id, fresh for each lab

	cfg     Config
	logger  *slog.Logger
	out     *lines
	binary  string // of the load tools
	jvm     jvm
	sup     *supervisor
	work    *workDir
	logs    string
	madeOut string // the output directory, where this lab made it
	spare   []int  // ports for the load tools

	auditor     *process
	auditorHTTP string
	producers   []*process
	http        *http.Client

	keepLogs bool
	stopped  bool
}

// New checks everything that can be checked without starting anything: the configuration, Java,
// the Kafka jars (which it gets from Maven Central where they are missing), the load tools'
// executable, the output directory. It makes the lab's directories; Stop removes them. Progress is
// written to out, a line each.
func New(ctx context.Context, cfg Config, logger *slog.Logger, out io.Writer) (l *Lab, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l = &Lab{
		TestID: "lab-" + time.Now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:4]),
		cfg:    cfg, logger: logger, out: &lines{w: out, start: time.Now()},
		http: &http.Client{Timeout: 10 * time.Second},
	}
	j, err := findJava(ctx, cfg.Java)
	if err != nil {
		return nil, err
	}
	if l.binary, err = findBinary(cfg.LoadgenBinary); err != nil {
		return nil, err
	}
	cache, err := cfg.cacheDir()
	if err != nil {
		return nil, err
	}
	classPath, err := resolveJars(ctx, cache, j, l.out.say)
	if err != nil {
		return nil, err
	}
	l.out.say("Java %s (%s), jars of Kafka %s as they should be", j.version, j.path, kafkaVersion)

	defer func() {
		if err != nil {
			err = errors.Join(err, l.Stop())
		}
	}()
	if err := l.makeDirectories(); err != nil {
		return nil, err
	}
	l.sup = newSupervisor(l.work.path, l.logs)
	l.jvm = jvm{java: j, classPath: classPath, temp: l.work.path, logs: l.logs, log4j: filepath.Join(l.work.path, "log4j.properties")}
	if err := os.WriteFile(l.jvm.log4j, []byte(log4jProperties), 0o644); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	each := 1 + cfg.Brokers
	ports, err := freePorts(2*each + 1 + cfg.Producers + cfg.Consumers)
	if err != nil {
		return nil, err
	}
	if l.Source, err = newCluster(Source, cfg, l.work.path, ports[:each], l.sup, l.jvm); err != nil {
		return nil, err
	}
	if l.Destination, err = newCluster(Destination, cfg, l.work.path, ports[each:2*each], l.sup, l.jvm); err != nil {
		return nil, err
	}
	l.spare = ports[2*each:]
	return l, nil
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
	l.work, err = newWorkDir(os.TempDir())
	return err
}

// Start starts both clusters, makes the topics under load and starts the replicator. It returns
// when everything works: all brokers joined, and a record has crossed.
func (l *Lab) Start(ctx context.Context) error {
	err := l.step(ctx, fmt.Sprintf("%d source and %d destination brokers, a ZooKeeper each", l.cfg.Brokers, l.cfg.Brokers), func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		other := make(chan error, 1)
		go func() { other <- l.Destination.start(ctx, l.work.path) }()
		err := l.Source.start(ctx, l.work.path)
		if err != nil {
			cancel()
		}
		if otherErr := <-other; err == nil {
			err = otherErr // else it only tells of the cancellation
		}
		return err
	})
	if err != nil {
		return err
	}
	l.out.say("source %s", strings.Join(l.Source.BootstrapServers(), ","))
	l.out.say("destination %s", strings.Join(l.Destination.BootstrapServers(), ","))

	err = l.step(ctx, fmt.Sprintf("topics %s of %d partitions on both sides", strings.Join(l.cfg.Topics, ", "), l.cfg.Partitions), func(ctx context.Context) error {
		for _, c := range []*Cluster{l.Source, l.Destination} {
			args := []string{"topics", "create",
				"--bootstrap-servers", strings.Join(c.BootstrapServers(), ","), "--topics", strings.Join(l.cfg.Topics, ","),
				"--num-partitions", strconv.Itoa(l.cfg.Partitions), "--num-replicas", strconv.Itoa(l.cfg.replicas(c.side)),
				"--retention", l.cfg.Retention.String()}
			if c.side == Destination {
				args = append(args, "--log-append-time") // the arrival time that latency is measured to
			}
			if err := l.sup.run(ctx, command{name: "topics " + c.side, argv: append([]string{l.binary}, args...)}); err != nil {
				return err
			}
			if err := c.WaitWithout(ctx, l.cfg.StartTimeout, -1, l.cfg.Topics...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || l.cfg.Replicator == None {
		return err
	}
	return l.step(ctx, "MirrorMaker 2 carries records", l.startReplicator)
}

// startReplicator starts MirrorMaker 2 and returns when a record of the lab's own has crossed.
func (l *Lab) startReplicator(ctx context.Context) error {
	var topics []string
	for _, t := range append([]string{selfTestTopic}, l.cfg.Topics...) {
		topics = append(topics, regexp.QuoteMeta(t))
	}
	mm := replicators.MirrorMaker2{
		Source: l.Source.BootstrapServers(), Destination: l.Destination.BootstrapServers(),
		Topics: topics, ExcludeTopics: []string{sourceLedgerTopic, destinationLedgerTopic},
		Tasks: l.cfg.ReplicatorTasks, RefreshInterval: l.cfg.RefreshInterval,
		Replicas: l.cfg.replicas(Destination), Overrides: l.cfg.ReplicatorConfig,
	}
	if err := mm.Validate(); err != nil {
		return err
	}
	for _, c := range []*Cluster{l.Source, l.Destination} {
		if err := c.createTopic(ctx, selfTestTopic, 1, l.cfg.replicas(c.side)); err != nil {
			return err
		}
	}
	config := filepath.Join(l.work.path, "mirrormaker2.properties")
	if err := os.WriteFile(config, mm.Properties(), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if _, err := l.sup.start(l.jvm.command("mirrormaker2", replicatorHeap, replicators.MirrorMaker2Class, config)); err != nil {
		return err
	}

	record := &kgo.Record{Topic: selfTestTopic, Value: []byte(l.TestID)}
	if err := l.Source.client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return fmt.Errorf("write the self-test's record: %w", err)
	}
	l.Destination.client.AddConsumeTopics(selfTestTopic)
	defer l.Destination.client.PauseFetchTopics(selfTestTopic)
	return await(ctx, l.cfg.StartTimeout, "the first record through MirrorMaker 2", func(ctx context.Context) error {
		fetches := l.Destination.client.PollFetches(ctx)
		for _, r := range fetches.Records() {
			if string(r.Value) == l.TestID {
				return nil
			}
		}
		return fmt.Errorf("nothing has arrived in %s; the log of MirrorMaker 2 is %s", selfTestTopic, filepath.Join(l.logs, "mirrormaker2.log"))
	})
}

// Load starts the consumers, the auditor and the producers, and returns when all are ready.
func (l *Lab) Load(ctx context.Context) error {
	source, destination := strings.Join(l.Source.BootstrapServers(), ","), strings.Join(l.Destination.BootstrapServers(), ",")
	topics := strings.Join(l.cfg.Topics, ",")
	what := fmt.Sprintf("load runs: %d producer(s) at %s a topic, messages of %s; %d consumer(s) and the auditor follow", l.cfg.Producers, l.cfg.Throughput, l.cfg.MessageSize, l.cfg.Consumers)
	return l.step(ctx, what, func(ctx context.Context) error {
		for i := range l.cfg.Consumers {
			if _, _, err := l.tool(ctx, fmt.Sprintf("consumer %d", i), nil, "/readyz", "consume",
				"--bootstrap-servers", destination, "--topics", topics, "--id", fmt.Sprintf("consumer-%d", i),
				"--instances", strconv.Itoa(l.cfg.Consumers), "--index", strconv.Itoa(i)); err != nil {
				return err
			}
		}
		args := []string{"audit",
			"--source-bootstrap-servers", source, "--destination-bootstrap-servers", destination, "--topics", topics,
			"--producers", strconv.Itoa(l.cfg.Producers), "--drain-idle", l.cfg.DrainIdle.String(), "--output", l.cfg.Output}
		for _, e := range l.cfg.Expect {
			args = append(args, "--expect", e)
		}
		var err error
		if l.auditor, l.auditorHTTP, err = l.tool(ctx, "auditor", l.out, "/readyz", args...); err != nil {
			return err
		}
		for i := range l.cfg.Producers {
			p, _, err := l.tool(ctx, fmt.Sprintf("producer %d", i), nil, "/readyz", "produce",
				"--bootstrap-servers", source, "--topics", topics, "--id", fmt.Sprintf("producer-%d", i),
				"--throughput", l.cfg.Throughput, "--message-size", l.cfg.MessageSize,
				"--num-partitions", strconv.Itoa(l.cfg.Partitions), "--num-replicas", strconv.Itoa(l.cfg.replicas(Source)),
				"--retention", l.cfg.Retention.String())
			if err != nil {
				return err
			}
			l.producers = append(l.producers, p)
		}
		return nil
	})
}

// tool starts one load tool and waits until its HTTP server answers on path. It returns the
// server's URL.
func (l *Lab) tool(ctx context.Context, name string, tee io.Writer, path string, args ...string) (*process, string, error) {
	port := l.spare[0]
	l.spare = l.spare[1:]
	argv := append([]string{l.binary}, args...)
	argv = append(argv, "--test-id", l.TestID, "--metrics-address", address(port))
	p, err := l.sup.start(command{name: name, argv: argv, tee: tee})
	if err != nil {
		return nil, "", err
	}
	url := "http://" + address(port)
	return p, url, await(ctx, l.cfg.StartTimeout, name, func(ctx context.Context) error { return l.call(ctx, http.MethodGet, url+path, nil) })
}

// call sends an HTTP request, with body as JSON, whose answer must be a success.
func (l *Lab) call(ctx context.Context, method, url string, body any) error {
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
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, bytes.TrimSpace(text))
	}
	return nil
}

// Event tells the auditor what happened to the clusters and when, for the report. Before Load
// there is nobody to tell.
func (l *Lab) Event(ctx context.Context, at time.Time, kind, side, detail string) error {
	if l.auditor == nil {
		return nil
	}
	err := l.call(ctx, http.MethodPost, l.auditorHTTP+"/events",
		map[string]any{"time_unix_us": at.UnixMicro(), "kind": kind, "side": side, "detail": detail})
	if err != nil {
		return fmt.Errorf("tell the auditor of %s: %w", kind, err)
	}
	return nil
}

func (l *Lab) cluster(side string) (*Cluster, error) {
	switch side {
	case Source:
		return l.Source, nil
	case Destination:
		return l.Destination, nil
	}
	return nil, fmt.Errorf("side is %q: must be %s or %s", side, Source, Destination)
}

// Kill kills a broker as kill -9 does and tells the auditor. It does not wait for the cluster to notice.
func (l *Lab) Kill(ctx context.Context, side string, id int) error {
	return l.step(ctx, fmt.Sprintf("kill -9 of %s broker %d", side, id), func(ctx context.Context) error {
		c, err := l.cluster(side)
		if err != nil {
			return err
		}
		at := time.Now()
		if err := c.Kill(id); err != nil {
			return err
		}
		return l.Event(ctx, at, "broker-kill", side, fmt.Sprintf("kill -9 of broker %d, disk and address kept", id))
	})
}

// Return starts a killed broker again and tells the auditor when the cluster has taken it in. It
// does not wait until the broker has caught up; see Cluster.WaitInSync.
func (l *Lab) Return(ctx context.Context, side string, id int) error {
	return l.step(ctx, fmt.Sprintf("%s broker %d is back, with its disk and address", side, id), func(ctx context.Context) error {
		c, err := l.cluster(side)
		if err != nil {
			return err
		}
		if err := c.Start(ctx, id); err != nil {
			return err
		}
		return l.Event(ctx, time.Now(), "broker-return", side, fmt.Sprintf("broker %d is back", id))
	})
}

// Drain stops the producers, has the auditor finish, and returns the auditor's exit code: 0 the
// verdict holds, 1 broken, 3 cannot say.
func (l *Lab) Drain(ctx context.Context) (exitCode int, err error) {
	if l.auditor == nil {
		return exitNoVerdict, errors.New("drain: no load has been started")
	}
	err = l.step(ctx, "producers have stopped", func(ctx context.Context) error {
		for _, p := range l.producers {
			p.signal(syscall.SIGTERM)
		}
		bounded, cancel := context.WithTimeout(ctx, producerStop)
		defer cancel()
		for _, p := range l.producers {
			if err := p.wait(bounded); err != nil {
				if ctx.Err() != nil {
					return err
				}
				// The verdict counts what it left unresolved.
				l.out.say("%s did not stop within %s and is killed", p.name, producerStop)
				p.kill()
			}
			if p.err != nil {
				l.out.say("%s: %v; its log is %s", p.name, p.err, p.log)
			}
		}
		return nil
	})
	if err != nil {
		return exitNoVerdict, err
	}
	exitCode = exitNoVerdict
	err = l.step(ctx, "the auditor has its verdict", func(ctx context.Context) error {
		l.auditor.asked.Store(true)
		if err := l.call(ctx, http.MethodPost, l.auditorHTTP+"/drain", nil); err != nil {
			return fmt.Errorf("ask the auditor to drain: %w", err)
		}
		bounded, cancel := context.WithTimeoutCause(ctx, l.cfg.DrainTimeout, fmt.Errorf("no verdict within %s", l.cfg.DrainTimeout))
		defer cancel()
		if err := l.auditor.wait(bounded); err != nil {
			return err
		}
		switch code := l.auditor.cmd.ProcessState.ExitCode(); code {
		case exitHolds, exitBroken, exitCannotSay:
			exitCode = code
			return nil
		default:
			return fmt.Errorf("the auditor came to no verdict: %w", l.auditor.ended())
		}
	})
	if exitCode != exitHolds {
		l.keepLogs = true
	}
	return exitCode, err
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
		l.keepLogs = true
		l.logger.Debug("step failed", "step", what, "err", err)
	}
	return err
}

// Stop ends every process and removes what the lab has made. The logs stay when a step failed for
// any other reason than ctx, or the verdict does not hold; with Keep, the clusters' data too. It may
// be called at any time, and more than once.
func (l *Lab) Stop() error {
	if l.stopped {
		return nil
	}
	l.stopped = true
	for _, c := range []*Cluster{l.Source, l.Destination} {
		if c != nil {
			c.client.Close()
		}
	}
	if l.sup != nil {
		l.sup.stop()
	}
	var errs []error
	if l.work != nil {
		errs = append(errs, l.work.remove(l.cfg.Keep))
		if l.cfg.Keep {
			l.out.say("data and configuration of the clusters are kept in %s", l.work.path)
		}
	}
	if l.logs != "" {
		if l.keepLogs || l.cfg.Keep {
			l.out.say("logs are kept in %s", l.logs)
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
