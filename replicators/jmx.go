package replicators

import (
	"embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed jmx/*.yml
var jmxFiles embed.FS

// Process is a kind of Java process that the JMX exporter's agent watches.
type Process string

// Processes.
const (
	KafkaProcess        Process = "kafka" // brokers and KRaft controllers
	ZooKeeperProcess    Process = "zookeeper"
	MirrorMaker2Process Process = "mirrormaker2"
	UReplicatorProcess  Process = "ureplicator" // controllers and workers
	BrooklinProcess     Process = "brooklin"
)

// Processes returns all of them.
func Processes() []Process {
	return []Process{KafkaProcess, ZooKeeperProcess, MirrorMaker2Process, UReplicatorProcess, BrooklinProcess}
}

// jmx is a configuration of the JMX exporter.
// https://prometheus.github.io/jmx_exporter/1.0.1/http-mode/rules/
type jmx struct {
	LowercaseName   bool      `yaml:"lowercaseOutputName"`
	LowercaseLabels bool      `yaml:"lowercaseOutputLabelNames"`
	Include         []string  `yaml:"includeObjectNames"`
	Rules           []jmxRule `yaml:"rules"`
}

type jmxRule struct {
	Pattern     string            `yaml:"pattern"`
	Name        string            `yaml:"name"`
	Type        string            `yaml:"type"`
	ValueFactor float64           `yaml:"valueFactor,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
}

// readJMX returns the configuration of a process. A replicator's has the rules of Kafka's clients too.
func readJMX(p Process) (jmx, error) {
	files := []string{string(p)}
	if p != KafkaProcess && p != ZooKeeperProcess {
		files = append(files, "clients")
	}
	out := jmx{LowercaseName: true, LowercaseLabels: true}
	for _, name := range files {
		text, err := jmxFiles.ReadFile("jmx/" + name + ".yml")
		if err != nil {
			return jmx{}, fmt.Errorf("JMX rules of %s: %w", p, err)
		}
		var one jmx
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		decoder.KnownFields(true)
		if err := decoder.Decode(&one); err != nil {
			return jmx{}, fmt.Errorf("JMX rules of %s, %s.yml: %w", p, name, err)
		}
		out.Include, out.Rules = append(out.Include, one.Include...), append(out.Rules, one.Rules...)
	}
	return out, nil
}

// JMX returns the JMX exporter's configuration file for a process: which beans are asked for, and what
// their metrics are called. JVM and process metrics come with the agent.
func JMX(p Process) ([]byte, error) {
	c, err := readJMX(p)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("JMX rules of %s: %w", p, err)
	}
	return text, nil
}

// JMXMetrics returns the names of all metrics that the rules of a process can make, with their type:
// counter or gauge.
func JMXMetrics(p Process) (map[string]string, error) {
	c, err := readJMX(p)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, r := range c.Rules {
		expanded, err := r.names()
		if err != nil {
			return nil, fmt.Errorf("JMX rules of %s: %w", p, err)
		}
		for _, name := range expanded {
			names[name] = strings.ToLower(r.Type)
		}
	}
	return names, nil
}

var (
	captured = regexp.MustCompile(`\((?:\?:)?[^()]*\)`)
	words    = regexp.MustCompile(`^\(([A-Za-z0-9|-]+)\)$`)
	place    = regexp.MustCompile(`\$\d`)
	unfit    = regexp.MustCompile(`[^a-z0-9_]`)
)

// names expands the groups of a pattern that its name refers to. They have to be lists of words.
func (r jmxRule) names() ([]string, error) {
	var groups []string // those that count
	for _, g := range captured.FindAllString(r.Pattern, -1) {
		if !strings.HasPrefix(g, "(?:") {
			groups = append(groups, g)
		}
	}
	names := map[string]bool{r.Name: true}
	for {
		done := true
		for _, name := range slices.Sorted(maps.Keys(names)) {
			at := place.FindString(name)
			if at == "" {
				continue
			}
			done = false
			delete(names, name)
			i := int(at[1]-'0') - 1
			if i < 0 || i >= len(groups) {
				return nil, fmt.Errorf("%s: %s stands for no group of %s", r.Name, at, r.Pattern)
			}
			m := words.FindStringSubmatch(groups[i])
			if m == nil {
				return nil, fmt.Errorf("%s: %s stands for %s, which is no list of words", r.Name, at, groups[i])
			}
			for _, w := range strings.Split(m[1], "|") {
				names[strings.ReplaceAll(name, at, w)] = true
			}
		}
		if done {
			break
		}
	}
	var out []string
	for name := range names {
		out = append(out, unfit.ReplaceAllString(strings.ToLower(name), "_"))
	}
	slices.Sort(out)
	return out, nil
}
