package produce

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

func TestReadSettings(t *testing.T) {
	for name, text := range map[string]string{
		"YAML":    "orders:\n  rate: 20k/s\n  size: 1kB\n\"*\":\n  rate: 100\n",
		"inline":  "orders: {rate: 20k/s, size: 1000}\n'*': {rate: 100/s}",
		"JSON":    `{"orders": {"rate": "20k/s", "size": "1kB"}, "*": {"rate": 100}}`,
		"comment": "# load\norders: {rate: 20000, size: 1kB} # more\n'*': {rate: 100/s}",
	} {
		got, err := ReadSettings([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		orders, all := got["orders"], got[AllTopics]
		if len(got) != 2 || orders.Rate == nil || *orders.Rate != perSecond(20_000) || orders.Size == nil || *orders.Size != 1000 ||
			all.Rate == nil || *all.Rate != perSecond(100) || all.Size != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got, err := ReadSettings(nil); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %v, %v", got, err)
	}
	for text, says := range map[string]string{
		"orders: {rat: 1}":              "rat",
		"orders: 5":                     "orders: {rate: 20k/s",
		"orders: {rate: 0}":             `"0"`,
		"orders: {rate: -5/s}":          `"-5/s"`,
		"orders: {size: 1kb}":           `"1kb"`,
		"- orders":                      "list of topics",
		"orders: {rate: 1}\norders: {}": "already defined",
		"{":                             "settings",
	} {
		if _, err := ReadSettings([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %s", text, err, says)
		}
	}
}

// The file is followed the way a mounted ConfigMap changes: what its name
// points to is replaced.
func TestSettingsFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "load.yaml")
	version := 0
	write := func(text string) {
		t.Helper()
		version++
		target := filepath.Join(dir, fmt.Sprintf("v%d", version))
		link := filepath.Join(dir, "next")
		for _, err := range []error{
			os.WriteFile(target, []byte(text), 0o600),
			os.Symlink(target, link),
			os.Rename(link, file),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write("a: {rate: 2000/s}\n'*': {rate: 50/s, size: 300}")
	c := newCluster(t, kfake.SeedTopics(1, "a", "b"))
	cfg := testConfig("a", "b")
	cfg.SettingsFile = file
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	p.watcher.every = time.Millisecond
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	l := &life{Producer: p, t: t, done: done, log: out}
	setting := func(i int) Setting { return *p.topics[i].setting.Load() }
	if a, b := setting(0), setting(1); a != (Setting{perSecond(2000), 300}) || b != (Setting{perSecond(50), 300}) {
		t.Fatalf("a %v, b %v", a, b)
	}
	l.eventually("records of both", func() bool { return p.topics[0].counts.acked.Load() > 100 && p.topics[1].counts.acked.Load() > 1 })

	write("b: {rate: max, size: 1kB}")
	l.eventually("the new settings", func() bool {
		return setting(0) == (Setting{cfg.Throughput, cfg.MessageSize}) && setting(1) == (Setting{units.Rate{Kind: units.Unlimited}, 1000})
	})
	l.eventually("many records of b", func() bool { return p.topics[1].counts.acked.Load() > 2000 })

	// All or nothing, and the load goes on.
	for text, says := range map[string]string{
		"a: {rate: 7/s}\nb: {size: 1}":   "1 B is too small",
		"a: {rate: 7/s}\nc: {rate: 1/s}": `\"c\" is not one that this producer writes to`,
		"a: {rate":                       "not a list of topics",
	} {
		write(text)
		l.eventually("a word on "+text, func() bool { return strings.Contains(out.String(), says) })
		if a := setting(0); a.Rate != cfg.Throughput {
			t.Errorf("%q was applied: %v", text, a)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.eventually("a word on the missing file", func() bool { return strings.Contains(out.String(), "no such file") })
	write("a: {rate: 9/s}\nb: {rate: 1/s}")
	l.eventually("the last settings", func() bool { return setting(0).Rate == perSecond(9) && setting(1).Rate == perSecond(1) })
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
}
