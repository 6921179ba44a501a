package lab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// The JMX exporter's agent, which makes metrics of a JVM's beans.
const (
	agentVersion = "1.0.1"
	agentName    = "jmx_prometheus_javaagent-" + agentVersion + ".jar"
	agentSum     = "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1"
	agentPort    = 9404
)

// prometheusStop is how long Prometheus may take to close its data.
const prometheusStop = 20 * time.Second

// prometheusConfig reads every process as often as the stacks do. That a target's labels have a job
// overrides the one here.
const prometheusConfig = `global: {scrape_interval: 15s, evaluation_interval: 15s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: lab
    file_sd_configs: [{files: [targets.json]}]
`

// monitor is a Prometheus that watches all processes of the lab, with the rules of the stacks. A nil one
// watches nothing.
type monitor struct {
	dir     string // its configuration and data, which stay
	configs string // where the agent's rules are
	agent   string // the agent's jar
	net     network
	url     string
	began   time.Time
	proc    *process

	mu      sync.Mutex // guards what follows
	targets map[string]target
}

// target is one process as Prometheus' file_sd_configs have it. Its labels are those of a pod.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
	seat    string            // where the process is
}

// findPrometheus returns the path of prometheus, or says how to get it.
func findPrometheus() (string, error) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		return "", fmt.Errorf("Prometheus is missing: install Debian's package prometheus, as make setup does, or leave out --prometheus: %w", err)
	}
	return path, nil
}

// startMonitor starts Prometheus, which has nothing to watch yet.
func (l *Lab) startMonitor(ctx context.Context) error {
	if !l.cfg.Prometheus {
		return nil
	}
	program, err := findPrometheus()
	if err != nil {
		return err
	}
	cache, err := l.cfg.cacheDir()
	if err != nil {
		return err
	}
	m := &monitor{began: time.Now(), configs: l.configs(), net: l.net, targets: map[string]target{}}
	if m.agent, err = resolveAgent(ctx, cache, l.jvm.java, l.out.say); err != nil {
		return err
	}
	for _, p := range replicators.Processes() {
		rules, err := replicators.JMX(p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(m.rules(p), rules, 0o644); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	rules, err := dashboards.RuleFile(time.Duration(l.now.Source.Retention))
	if err != nil {
		return err
	}
	m.dir, err = filepath.Abs(filepath.Join(cmp.Or(l.cfg.PrometheusOutput, l.cfg.Output), "prometheus-"+time.Now().Format("20060102-150405")))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(m.dir, "data"), 0o755); err != nil {
		return fmt.Errorf("directory of Prometheus: %w", err)
	}
	for name, text := range map[string]string{"prometheus.yml": prometheusConfig, "rules.yml": string(rules), "targets.json": "[]"} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("configuration of Prometheus: %w", err)
		}
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	m.url = "http://" + address(ports[0])
	m.proc, err = l.sup.start(command{name: "prometheus", argv: []string{
		program, "--config.file=" + filepath.Join(m.dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(m.dir, "data"),
		"--storage.tsdb.retention.time=3650d", "--web.listen-address=" + address(ports[0]), "--log.level=warn",
	}})
	if err != nil {
		return err
	}
	l.jvm.watch = m
	return await(ctx, l.cfg.StartTimeout, "Prometheus", func(ctx context.Context) error {
		return request(ctx, http.DefaultClient, http.MethodGet, m.url+"/-/ready", nil, nil)
	})
}

// stopMonitor has Prometheus close its data, which stay.
func (l *Lab) stopMonitor() {
	m := l.jvm.watch
	if m == nil || m.proc == nil {
		return
	}
	m.proc.terminate(prometheusStop)
	l.out.say("metrics are kept in %s; to look at them again: prometheus --config.file=/dev/null --storage.tsdb.path=%s --storage.tsdb.retention.time=3650d --web.listen-address=127.0.0.1:9090", m.dir, filepath.Join(m.dir, "data"))
	l.out.say("and then, for a picture of this time: loadgen dashboards render --from %s --to %s", m.began.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
}

// Prometheus returns the URL of the lab's Prometheus, empty without one.
func (l *Lab) Prometheus() string {
	if l.jvm.watch == nil {
		return ""
	}
	return l.jvm.watch.url
}

func (m *monitor) rules(p replicators.Process) string {
	return filepath.Join(m.configs, "jmx-"+string(p)+".yml")
}

// java has a Java program that is about to be started in a seat export its metrics, and watches it. One
// that is started again in the same seat keeps its port.
func (m *monitor) java(start *command, p replicators.Process, side, pod string, s seat) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	known, ok := m.targets[side+" "+pod]
	m.mu.Unlock()
	if !ok || known.seat != s.listen() {
		where, err := m.net.beside(s, agentPort)
		if err != nil {
			return fmt.Errorf("port for the metrics of %s: %w", start.name, err)
		}
		known.Targets = []string{where}
	}
	where := known.Targets[0]
	start.argv = slices.Insert(start.argv, 1, fmt.Sprintf("-javaagent:%s=%s:%s", m.agent, where, m.rules(p)))
	return m.watch(string(p), side, pod, where, s)
}

// watch adds a process, or says where it is now.
func (m *monitor) watch(job, side, pod, where string, s seat) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.targets[side+" "+pod] = target{[]string{where}, map[string]string{"job": job, "namespace": side, "pod": pod}, s.listen()}
	return m.write()
}

// forget ends the watch of a process that is no more meant to be there.
func (m *monitor) forget(side, pod string) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.targets, side+" "+pod)
	return m.write()
}

// write tells Prometheus what to watch. Call it with mu held.
func (m *monitor) write() error {
	all := []target{}
	for _, t := range m.targets {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b target) int { return cmp.Compare(a.Targets[0], b.Targets[0]) })
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("targets of Prometheus: %w", err)
	}
	path := filepath.Join(m.dir, "targets.json")
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return fmt.Errorf("targets of Prometheus: %w", err)
	}
	return os.Rename(path+".new", path) // it never reads half a file
}

// podName is what a load tool's pod would be called: "producer 0" is producer-0.
func podName(tool string) (job, pod string) {
	job, _, _ = strings.Cut(tool, " ")
	return job, strings.ReplaceAll(tool, " ", "-")
}

// resolveAgent returns the path of the JMX exporter's agent, checked. It comes from Maven Central where it is
// missing.
func resolveAgent(ctx context.Context, cache string, j java, say func(format string, args ...any)) (string, error) {
	dir := filepath.Join(cache, "jmx-exporter-"+agentVersion)
	path := filepath.Join(dir, agentName)
	sum, err := sha256Of(path)
	if errors.Is(err, fs.ErrNotExist) {
		say("getting the JMX exporter %s from Maven Central, once, into %s", agentVersion, dir)
		if err = copyAgent(ctx, dir, j); err != nil {
			return "", err
		}
		sum, err = sha256Of(path)
	}
	if err != nil {
		return "", fmt.Errorf("the JMX exporter's agent: %w", err)
	}
	if sum != agentSum {
		return "", fmt.Errorf("%s has sha256 %s, must have %s: it is damaged or not the one that was released; remove it to get it again", path, sum, agentSum)
	}
	return path, nil
}

// copyAgent has Maven put the agent into dir.
func copyAgent(ctx context.Context, dir string, j java) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("the JMX exporter's agent is not in %s, and Maven, which would get it, is missing: install mvn, or leave out --prometheus: %w", dir, err)
	}
	return maven(ctx, mvn, dir, j, "the JMX exporter's agent",
		dependencyPlugin+":copy", "-Dartifact=io.prometheus.jmx:jmx_prometheus_javaagent:"+agentVersion, "-DoutputDirectory="+dir)
}
