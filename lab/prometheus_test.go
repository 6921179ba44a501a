package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

func TestMonitorWatchesWhatRuns(t *testing.T) {
	m := &monitor{dir: t.TempDir(), configs: "/configs", agent: "/agent.jar", net: &loopback{ports: ports{used: map[int]bool{}}}, targets: map[string]target{}}
	read := func() map[string]string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(m.dir, "targets.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all []target
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, one := range all {
			out[one.Labels["job"]+" "+one.Labels["namespace"]+" "+one.Labels["pod"]] = one.Targets[0]
		}
		return out
	}
	start := func(s seat) string {
		t.Helper()
		c := command{argv: []string{"java", "kafka.Kafka"}}
		if err := m.java(&c, replicators.KafkaProcess, Source, "kafka-0", s); err != nil {
			t.Fatal(err)
		}
		if len(c.argv) != 3 || !strings.HasPrefix(c.argv[1], "-javaagent:/agent.jar=127.0.0.1:") || !strings.HasSuffix(c.argv[1], ":/configs/jmx-kafka.yml") {
			t.Errorf("started as %q", c.argv)
		}
		return c.argv[1]
	}
	first := start(here("127.0.0.1:1001"))
	where := read()["kafka source kafka-0"]
	if where == "" || where == "127.0.0.1:1001" || !strings.Contains(first, where) {
		t.Errorf("the broker exports at %s, and %q is watched", first, where)
	}
	if again := start(here("127.0.0.1:1001")); again != first {
		t.Errorf("after its return it exports at %s, before at %s", again, first)
	}
	if moved := start(here("127.0.0.1:1002")); moved == first {
		t.Error("a replaced broker has the port of the one before")
	}
	job, pod := podName("producer 0")
	if err := m.watch(job, Source, pod, "127.0.0.1:7", here("127.0.0.1:7")); err != nil {
		t.Fatal(err)
	}
	if got := read(); len(got) != 2 || got["producer source producer-0"] != "127.0.0.1:7" {
		t.Errorf("watched are %v", got)
	}
	if err := m.forget(Source, "kafka-0"); err != nil {
		t.Fatal(err)
	}
	if got := read(); len(got) != 1 {
		t.Errorf("after the broker was removed: %v", got)
	}
}

func TestWithoutAMonitorNothingChanges(t *testing.T) {
	var m *monitor
	c := command{argv: []string{"java", "kafka.Kafka"}}
	if err := m.java(&c, replicators.KafkaProcess, Source, "kafka-0", here("127.0.0.1:1")); err != nil || len(c.argv) != 2 {
		t.Errorf("%v, %q", err, c.argv)
	}
	if m.watch("a", Source, "b", "c", here("d")) != nil || m.forget(Source, "b") != nil {
		t.Error("errors of nothing")
	}
}
