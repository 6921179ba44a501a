package lab

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// makeJar writes a jar with classes in it, of which only the names are looked at.
func makeJar(t *testing.T, path string, classes ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, class := range classes {
		if _, err := w.Create(strings.ReplaceAll(class, ".", "/") + ".class"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A directory that is named and is no installation is a mistake, and is said before anything is made.
func TestInstallationMustHaveTheProgram(t *testing.T) {
	controller, worker := replicators.UReplicatorControllerClass, replicators.UReplicatorWorkerClass
	for name, test := range map[string]struct {
		fill func(dir string)
		want []string // of the error; none: it is one
	}{
		"no such directory": {func(dir string) { _ = os.Remove(dir) }, []string{"no jar in it", "uReplicator"}},
		"empty":             {func(string) {}, []string{"no jar in it"}},
		"jars below it": {func(dir string) {
			_ = os.Mkdir(filepath.Join(dir, "libs"), 0o755)
			makeJar(t, filepath.Join(dir, "libs", "all.jar"), controller, worker)
		}, []string{"no jar in it", "directly"}},
		"other jars":    {func(dir string) { makeJar(t, filepath.Join(dir, "kafka.jar"), "kafka.Kafka") }, []string{"none of its 1 jars has", controller + " or " + worker}},
		"no worker":     {func(dir string) { makeJar(t, filepath.Join(dir, "controller.jar"), controller) }, []string{"none of its 1 jars has " + worker}},
		"a damaged jar": {func(dir string) { _ = os.WriteFile(filepath.Join(dir, "a.jar"), []byte("no"), 0o644) }, []string{"a.jar is no jar"}},
		"in one jar":    {func(dir string) { makeJar(t, filepath.Join(dir, "u[2].jar"), controller, worker) }, nil},
		"in several jars": {func(dir string) {
			makeJar(t, filepath.Join(dir, "a.jar"), controller)
			makeJar(t, filepath.Join(dir, "b.jar"), worker)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			cfg.UReplicatorHome = filepath.Join(t.TempDir(), "home [1]")
			if err := os.Mkdir(cfg.UReplicatorHome, 0o755); err != nil {
				t.Fatal(err)
			}
			test.fill(cfg.UReplicatorHome)
			err := cfg.Validate()
			if test.want != nil {
				contains(t, err, append(test.want, "ureplicator-home "+cfg.UReplicatorHome)...)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A replicator that is not there, or that may not run here, cannot be played, and that is told apart from
// what is wrong with the scenario.
func TestReplicatorWithoutMeansCannotBePlayed(t *testing.T) {
	home := t.TempDir()
	makeJar(t, filepath.Join(home, "uReplicator-1.jar"), replicators.UReplicatorControllerClass, replicators.UReplicatorWorkerClass)
	makeJar(t, filepath.Join(home, "brooklin-2.jar"), replicators.BrooklinClass)
	for name, test := range map[string]struct {
		replicator string
		cfg        func(*Config)
		change     func(*scenario.Config)
		cannot     bool
		want       []string // none: it can be played
	}{
		"uReplicator": {scenario.UReplicator, func(c *Config) { c.UReplicatorHome = "" }, nil, true, []string{"no registry has uReplicator", "--ureplicator-home"}},
		"Brooklin":    {scenario.Brooklin, func(c *Config) { c.BrooklinHome = "" }, nil, true, []string{"no registry has Brooklin", "--brooklin-home"}},
		"no ocean":    {scenario.UReplicator, func(c *Config) { c.Ocean = OceanOff }, nil, true, []string{"no password", "as root on Linux"}},
		"clusters that exist": {scenario.Brooklin, func(c *Config) {
			c.Ocean, c.SourceServers, c.DestinationServers = OceanOff, []string{"a:1"}, []string{"b:1"}
		}, nil, true, []string{"clusters of its own only"}},
		"too many workers": {scenario.UReplicator, nil, func(c *scenario.Config) { c.Destination.Workers = 31 }, true, []string{"workers: 31"}},
		"TLS":              {scenario.UReplicator, nil, func(c *scenario.Config) { c.Secure = true }, false, []string{"secure: true", "mirrormaker2"}},
		"KRaft":            {scenario.UReplicator, nil, func(c *scenario.Config) { c.Source.KafkaMode = scenario.KRaft }, false, []string{"ureplicator reads the ZooKeepers"}},
		"not the user's key": {scenario.UReplicator, nil, func(c *scenario.Config) {
			c.Destination.ReplicatorConfig = map[string]string{"controller.port": "1"}
		}, false, []string{"controller.port"}},
		"a key of nothing": {scenario.Brooklin, nil, func(c *scenario.Config) {
			c.Destination.ReplicatorConfig = map[string]string{"acks": "1"}
		}, false, []string{`override "acks"`}},
		"uReplicator as it should be": {scenario.UReplicator, nil, func(c *scenario.Config) { c.Destination.Controllers = 0 }, false, nil},
		"Brooklin as it should be":    {scenario.Brooklin, nil, nil, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			cfg.UReplicatorHome, cfg.BrooklinHome = home, home
			if test.cfg != nil {
				test.cfg(&cfg)
			}
			l := testLab(t, cfg)
			if test.cfg == nil {
				l.cfg.Ocean = OceanTUN // which New would try to make
			}
			c := small().Config
			c.Destination.Replicator, c.Destination.ReplicatorConfig = test.replicator, nil
			if test.change != nil {
				test.change(&c)
			}
			err := l.Check([]scenario.Config{c})
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			contains(t, err, test.want...)
			if errors.Is(err, scenario.ErrCannotPlay) != test.cannot {
				t.Errorf("cannot be played: %t, want %t: %v", !test.cannot, test.cannot, err)
			}
		})
	}
}

// The results say which jars were run.
func TestVersionsNameTheInstallations(t *testing.T) {
	cfg := defaults()
	cfg.UReplicatorHome = t.TempDir()
	makeJar(t, filepath.Join(cfg.UReplicatorHome, "uReplicator-Controller-2.0.2.jar"), replicators.UReplicatorControllerClass)
	makeJar(t, filepath.Join(cfg.UReplicatorHome, "uReplicator-Worker-2.0.2.jar"), replicators.UReplicatorWorkerClass)
	versions := testLab(t, cfg).Versions()
	if got, want := versions[scenario.UReplicator], "uReplicator-Controller-2.0.2, uReplicator-Worker-2.0.2"; got != want {
		t.Errorf("uReplicator is %q, want %q", got, want)
	}
	if got, ok := versions[scenario.Brooklin]; ok {
		t.Errorf("Brooklin is %q, and there is none", got)
	}
}

// A drain may not end while the replicator may go on by itself.
func TestDrainWaitsForTheReplicator(t *testing.T) {
	cfg := defaults()
	for name, least := range map[string]string{scenario.MirrorMaker2: "30s", scenario.UReplicator: "4m0s", scenario.Brooklin: "6m0s", scenario.NoReplicator: "30s"} {
		l := testLab(t, cfg)
		l.replicator = l.newReplicator(name)
		if got := l.drainIdle().String(); got != least {
			t.Errorf("%s: the drain waits for %s, want %s", name, got, least)
		}
	}
}
