package lab

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

func defaults() Config {
	var c Config
	c.SetDefaults()
	c.Ocean = OceanOff
	return c
}

// small is a test that costs little.
func small() testConfig {
	var t Test
	t.SetDefaults()
	c := testConfig{t.Baseline}
	c.TestID = "small"
	c.setTopics("lab")
	c.Source.Partitions, c.Destination.Partitions = 6, 6
	c.Source.ReplicationFactor, c.Source.MinInsyncReplicas = 2, 1
	c.Source.Throughput.PerSecond = 200
	c.Destination.ReplicatorConfig = map[string]string{"tasks.max": "2", "refresh.topics.interval.seconds": "1"}
	return c
}

// testLab has nothing started.
func testLab(t *testing.T, cfg Config) *Lab {
	t.Helper()
	l, err := New(cfg, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDefaultsAreValid(t *testing.T) {
	var test Test
	test.SetDefaults()
	if err := test.Validate(); err != nil {
		t.Error(err)
	}
	if err := testLab(t, defaults()).Check([]scenario.Config{small().Config}); err != nil {
		t.Error(err)
	}
}

func contains(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

func TestValidateNamesEachMistake(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"output is a file":       {func(c *Config) { c.Output = file }, []string{file, "is a file"}},
		"unknown ocean":          {func(c *Config) { c.Ocean = "pacific" }, []string{`ocean is "pacific"`, "tun"}},
		"lossy proxies":          {func(c *Config) { c.Ocean, c.Loss = OceanProxy, 1 }, []string{"loss is 1", "--ocean=tun"}},
		"more jitter than delay": {func(c *Config) { c.Jitter = time.Second }, []string{"jitter is 1s"}},
		"no output":              {func(c *Config) { c.Output = "" }, []string{"output is empty"}},
		"several at once":        {func(c *Config) { c.DrainIdle, c.StartTimeout = 0, 0 }, []string{"drain-idle is 0s", "start-timeout is 0s"}},
		"no time to drain":       {func(c *Config) { c.DrainTimeout = time.Second }, []string{"drain-timeout is 1s", "at least 30s"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := defaults()
			test.change(&c)
			_, err := New(c, slog.New(slog.DiscardHandler), io.Discard)
			contains(t, err, test.want...)
		})
	}
	var test Test
	test.SetDefaults()
	test.Kill, test.Duration = "both", 0
	contains(t, test.Validate(), `kill is "both"`, "duration is 0s")
	test.Kill, test.Duration, test.KillFor = Source, 2*time.Minute, 2*time.Minute
	contains(t, test.Validate(), "reach the end", "duration 2m0s")
}

// What is wrong with a scenario is said before anything is made, each mistake once, and what the lab
// cannot play is told apart from what nobody can.
func TestCheckReportsMistakesAtOnce(t *testing.T) {
	l := testLab(t, defaults())
	for name, test := range map[string]struct {
		change func(*scenario.Config)
		cannot bool
		want   []string
	}{
		"mistakes of the model": {func(c *scenario.Config) { c.Source.Partitions, c.Destination.Consumers = 0, 0 }, false,
			[]string{"partitions: 0", "consumers: 0"}},
		"ledger as topic": {func(c *scenario.Config) { c.Source.Topics = []string{"kmt-ledger-source"} }, false, []string{"tester's own"}},
		"topics that Kafka takes for one": {func(c *scenario.Config) {
			c.TopicPattern, c.Source.Topics = "a.b|a_b", []string{"a.b", "a_b"}
		}, false, []string{"differ in '.' and '_' only"}},
		"idle workers":       {func(c *scenario.Config) { c.Destination.Workers = 9 }, false, []string{"workers: 9", "gives work to 2", "tasks.max"}},
		"bad expectation":    {func(c *scenario.Config) { c.Destination.Expectations = []string{"p99<=5s"} }, false, []string{`no quantity "p99"`}},
		"not the user's key": {func(c *scenario.Config) { c.Destination.ReplicatorConfig = map[string]string{"clusters": "a"} }, false, []string{"clusters"}},
		"another replicator": {func(c *scenario.Config) {
			c.Destination.Replicator, c.Destination.ReplicatorConfig = scenario.Brooklin, nil
		}, true, []string{"replicator: brooklin", "--brooklin-home"}},
		"KRaft":               {func(c *scenario.Config) { c.Source.KafkaMode = scenario.KRaft }, true, []string{"source: kafkaMode", "ZooKeeper only"}},
		"more than there fit": {func(c *scenario.Config) { c.Source.Brokers = 31 }, true, []string{"brokers: 31", "room for 30"}},
		"network without an ocean": {func(c *scenario.Config) {
			c.Source.Fault = scenario.Fault{Kind: "broker-loss", Victims: []int{0}, Percent: 10, Duration: scenario.Duration(time.Minute)}
		}, true, []string{"source: fault.kind: broker-loss", "carries no packets", "root"}},
		"several, and one that cannot be": {func(c *scenario.Config) {
			c.Source.KafkaMode, c.Source.Partitions = scenario.KRaft, 0
		}, false, []string{"partitions: 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := small().Config
			test.change(&c)
			err := l.Check([]scenario.Config{c})
			contains(t, err, test.want...)
			if errors.Is(err, scenario.ErrCannotPlay) != test.cannot {
				t.Errorf("cannot be played: %t, want %t: %v", !test.cannot, test.cannot, err)
			}
			if again := l.Check([]scenario.Config{c, c, c}); again.Error() != err.Error() {
				t.Errorf("said more than once: %v", again)
			}
		})
	}
}

func TestCheckRefusesWhatCannotChange(t *testing.T) {
	l := testLab(t, defaults())
	for name, test := range map[string]struct {
		change func(*scenario.Config)
		want   string
	}{
		"fewer partitions": {func(c *scenario.Config) { c.Source.Partitions = 5 }, "source: partitions: 5, and there are 6"},
		"replicas":         {func(c *scenario.Config) { c.Destination.ReplicationFactor = 3 }, "destination: replicationFactor: 3"},
		"security":         {func(c *scenario.Config) { c.Secure = true }, "secure: true"},
		"another test":     {func(c *scenario.Config) { c.TestID = "other" }, "testId: other"},
		"headers":          {func(c *scenario.Config) { c.Source.UseMessageHeaders = true }, "useMessageHeaders: true"},
		"replicator":       {func(c *scenario.Config) { c.Destination.Replicator = scenario.NoReplicator }, "replicator: none"},
		"expectations":     {func(c *scenario.Config) { c.Destination.Expectations = []string{"duplicates<=0"} }, "expectations: [duplicates<=0]"},
	} {
		t.Run(name, func(t *testing.T) {
			base, next := small().Config, small().Config
			test.change(&next)
			contains(t, l.Check([]scenario.Config{base, base, next}), test.want)
		})
	}
	next := small().Config
	next.Source.Brokers, next.Destination.Brokers = 4, 2
	next.Source.Topics = append(next.Source.Topics, "lab2")
	next.TopicPattern = "lab.*"
	next.Source.Partitions, next.Source.Retention, next.Destination.Workers = 24, next.Source.Retention*2, 2
	next.Source.Fault = scenario.Fault{Kind: "broker-pause", Victims: []int{3}, Duration: scenario.Duration(time.Minute)}
	next.Destination.Fault = scenario.Fault{Kind: "region-outage", Duration: scenario.Duration(time.Minute)}
	base := small().Config
	base.TopicPattern = "lab.*"
	if err := l.Check([]scenario.Config{base, next, base}); err == nil || strings.Contains(err.Error(), "brokers") {
		t.Errorf("back to fewer partitions: %v", err)
	}
	if err := l.Check([]scenario.Config{base, next}); err != nil {
		t.Error(err)
	}
}

// A disk that is too full for what a run writes is found before brokers are started on it, and nothing is left.
func TestRoomOnTheDisk(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	// A replicator of somebody else's, and Kafka that is never asked for.
	cfg.LoadgenBinary, cfg.Output = script(t, t.TempDir(), "loadgen", "exit 1"), filepath.Join(t.TempDir(), "output")
	l := testLab(t, cfg)
	base := small()
	base.Source.Throughput.PerSecond = 10_000
	l.turnTo(base.Config)
	l.Sends(base.Source.Sends(300 * 24 * time.Hour))
	// 10k/s of 1 kB for 300 days, in 2 + 2 replicas.
	contains(t, l.checkRoom(base.Config), "the disk of "+temp, "247192382 MiB of records in 4 replicas", "MiB left", "send less")
	// What was found to be missing before a run is about this scenario alone.
	if err := l.Ready(t.Context(), base.Config); !errors.Is(err, scenario.ErrCannotPlay) {
		t.Errorf("no room: %v", err)
	}
	l.Sends(0)
	if err := l.checkRoom(base.Config); err != nil {
		t.Error(err)
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{temp, filepath.Dir(cfg.Output)} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s has %v (%v)", dir, left, err)
		}
	}
}
