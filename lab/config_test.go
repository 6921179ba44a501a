package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func defaults() Config {
	var c Config
	c.SetDefaults()
	return c
}

func TestDefaultsAreValidAndFollowTheDesign(t *testing.T) {
	c := defaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.replicas(Source) != 3 || c.replicas(Destination) != 2 {
		t.Errorf("replicas %d and %d, want 3 and 2", c.replicas(Source), c.replicas(Destination))
	}
	c.Brokers = 1
	if err := c.Validate(); err != nil {
		t.Errorf("one broker each, nothing else said: %v", err)
	}
	if c.replicas(Source) != 1 || c.replicas(Destination) != 1 {
		t.Errorf("replicas %d and %d on one broker", c.replicas(Source), c.replicas(Destination))
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
		"zero partitions":     {func(c *Config) { c.Partitions = 0 }, []string{"num-partitions is 0", "1 to 10000"}},
		"no brokers":          {func(c *Config) { c.Brokers = 0 }, []string{"brokers is 0"}},
		"too many replicas":   {func(c *Config) { c.Replicas = 4 }, []string{"num-replicas is 4", "0 to 3"}},
		"no topic":            {func(c *Config) { c.Topics = nil }, []string{"topics is empty"}},
		"ledger as topic":     {func(c *Config) { c.Topics = []string{"kmt-ledger-source"} }, []string{"used by the tester itself"}},
		"bad topic":           {func(c *Config) { c.Topics = []string{"a b"} }, []string{`"a b"`}},
		"topic twice":         {func(c *Config) { c.Topics = []string{"a", "a"} }, []string{"twice"}},
		"short retention":     {func(c *Config) { c.Retention = time.Second }, []string{"retention is 1s"}},
		"no rate":             {func(c *Config) { c.Throughput = "" }, []string{"throughput is empty"}},
		"unknown side":        {func(c *Config) { c.Kill = "both" }, []string{`kill is "both"`}},
		"kill past the end":   {func(c *Config) { c.KillFor = 2 * time.Minute }, []string{"reach the end", "duration 2m0s"}},
		"unknown replicator":  {func(c *Config) { c.Replicator = "brooklin" }, []string{`replicator is "brooklin"`, "mirrormaker2"}},
		"output is a file":    {func(c *Config) { c.Output = file }, []string{file, "is a file"}},
		"several at once":     {func(c *Config) { c.Producers, c.Consumers = 0, -1 }, []string{"producers is 0", "consumers is -1"}},
		"fraction of seconds": {func(c *Config) { c.RefreshInterval = 1500 * time.Millisecond }, []string{"refresh-interval is 1.5s"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := defaults()
			test.change(&c)
			err := c.Validate()
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range test.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
		})
	}
}
