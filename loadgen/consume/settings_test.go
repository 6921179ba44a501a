package consume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// A topic that the file names is read from then on, by the same instances that
// read other partitions; one that it names no more is read on, also by
// consumers that are started after that.
func TestTopicsComeAndGo(t *testing.T) {
	for _, group := range []string{"", "g"} {
		t.Run("group "+group, func(t *testing.T) {
			_, opts := startCluster(t)
			createTopic(t, opts, "a", 5)
			createTopic(t, opts, "b", 4)
			file := filepath.Join(t.TempDir(), "load.yaml")
			write(t, file, "a: {}")
			launch := func(life string) (all []*running) {
				for i := range 2 {
					cfg := testConfig(fmt.Sprint(life, i))
					cfg.SettingsFile = file
					if cfg.Group = group; group == "" {
						cfg.Instances, cfg.Index = 2, i
					}
					all = append(all, start(t, opts, cfg))
				}
				return all
			}
			a, b := newTraffic(t, opts, "a", 1), newTraffic(t, opts, "b", 2)
			both := func() {
				a.send(300, 5, true)
				b.send(300, 4, true)
			}
			both()
			first := launch("first")
			caughtUp(t, opts, "a")
			if states := bestStates(t, opts, "b"); len(states) > 0 {
				t.Error("b was read before it was named")
			}

			write(t, file, "a: {rate: 5/s}\nb: {rate: 7/s, size: 300}\n'*': {producers: 3}")
			both()
			caughtUp(t, opts, "b")
			write(t, file, "b: {rat: 7}") // wrong: all stays as it is
			eventually(t, "word of the mistake", func() bool { return first[0].log.contain("the test goes on as it was") })
			write(t, file, "b: {}")
			both()
			caughtUp(t, opts, "a")
			for _, c := range first {
				c.stop()
			}

			both() // a is not named any more, and yet it is of the test
			second := launch("second")
			caughtUp(t, opts, "a")
			caughtUp(t, opts, "b")
			for _, c := range second {
				eventually(t, "it is ready", func() bool { return c.Ready() == nil })
				c.stop()
			}
			for _, topic := range []string{"a", "b"} {
				expectExact(t, opts, topic)
			}
		})
	}
}

// What is no settings file, or names no topic, is refused at the start.
func TestSettingsFileAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "load.yaml")
	for text, says := range map[string]string{"": "names no topic", "a: 5": "list of topics", "kmt-ledger-source: {}": "ledgers"} {
		write(t, file, text)
		cfg := testConfig("c")
		cfg.SettingsFile = file
		if _, err := New(cfg, Deps{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %s", text, err, says)
		}
	}
}
