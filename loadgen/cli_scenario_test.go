package main

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/probe"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// brief is a scenario of a second; its expectation is put in.
const briefScenario = `name: NAME
about: A second of load.
baseline:
  source: {brokers: 1, replicationFactor: 1, minInsyncReplicas: 1, partitions: 2, throughput: 100/s, messageSize: 200B}
  destination: {brokers: 1, replicationFactor: 1, partitions: 2}
duration: DURATION
expectations:
  - {expect: "EXPECTATION", why: it is what is tested}
`

func scenarioFile(t *testing.T, name, duration, expectation string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".yaml")
	text := strings.NewReplacer("NAME", name, "DURATION", duration, "EXPECTATION", expectation).Replace(briefScenario)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestScenarioUsage(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	brief := scenarioFile(t, "brief", "1s", "lost == 0")
	for _, test := range []struct {
		args string
		want []string
	}{
		{"scenario", []string{"a command is missing: compare, list, run, show"}},
		{"scenario show", []string{"0 names: give one"}},
		{"scenario show kil-source-broker", []string{`scenario "kil-source-broker" is not in the catalogue: did you mean kill-source-broker?`}},
		{"scenario run", []string{"no scenario: name at least one, or give --all"}},
		{"scenario run kontrol --target demo", []string{"did you mean control?"}},
		{"scenario run control --target moon", []string{`--target "moon" is not known: use one of demo, lab`}},
		{"scenario run control --all", []string{"leave the names out"}},
		{"scenario run control --resume x", []string{"--resume goes on with what was begun: leave the names out"}},
		{"scenario run --resume x --repeat 2", []string{"leave --replicator, --set, --repeat and --output out"}},
		{"scenario run --resume " + full, []string{"name what loadgen scenario run was given as --output"}},
		{"scenario run control --repeat 0 --replicator foo", []string{"--repeat 0: use 1 to 1000", `--replicator: "foo" is not known: use one of mirrormaker2-untuned, ureplicator, brooklin, mirrormaker2`}},
		{"scenario run control --target demo --set throughput=5k/s", []string{"--set throughput=5k/s: throughput is no key here: did you mean source.throughput?"}},
		{"scenario run control --target demo --set source.throughput=5kk/s", []string{"--set source.throughput=5kk/s:", `unknown unit "kk"`, "write records as 20k/s"}},
		{"scenario run kontrol --target demo --output " + filepath.Join(full, "notes.txt"), []string{"did you mean control?", "notes.txt is a file: name a directory"}},
		{"scenario run control --java /nonexistent/java --output " + full, []string{"is not empty: name another directory"}},
		{"scenario run control --replicator none", []string{"--replicator none is for a replicator of yours: name the clusters"}},
		{"scenario run control --replicator none --source-bootstrap 127.0.0.1:1 --destination-bootstrap 127.0.0.1:2 --output " + filepath.Join(full, "results"),
			[]string{"source: cannot use Kafka at 127.0.0.1:1", "destination: cannot use Kafka at 127.0.0.1:2"}},
		{"scenario run control --replicator mm2", []string{`--replicator: "mm2" is not known`}},
		{"scenario run control --target demo --set source.broker=3", []string{"--set source.broker=3: source.broker is no key here: did you mean brokers?"}},
		{"scenario run control --replicator ureplicator --ureplicator-home " + full, []string{"ureplicator-home " + full, "there is no jar in it"}},
		{"lab --replicator brooklin --brooklin-home " + full, []string{"brooklin-home " + full, "there is no jar in it"}},
		{"lab --replicator ureplicator", []string{"replicator: ureplicator: cannot be played here: no registry has uReplicator", "--ureplicator-home"}},
		{"scenario run " + brief + " --target demo --output " + full, []string{"is not empty: name another directory"}},
		{"scenario run ./missing.yaml --target demo", []string{"missing.yaml: no such file"}},
		{"scenario compare", []string{"no directory"}},
		{"scenario compare /nowhere", []string{"/nowhere: no such file"}},
		{"scenario compare " + full + " --output " + t.TempDir(), []string{"no result.json below it"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			loadgen(t, nil, strings.Fields(test.args)...).want(t, exitTrouble, test.want...)
		})
	}
}

func TestScenarioListAndShow(t *testing.T) {
	t.Parallel()
	loadgen(t, nil, "scenario", "list").want(t, exitHolds, "kill-source-broker ", "add-partitions-wrong-order ", "Nothing is broken.")
	loadgen(t, nil, "scenario", "list", "--json").want(t, exitHolds, `"name": "kill-source-broker"`)
	loadgen(t, nil, "scenario", "run", "--help").want(t, exitHolds, "--ureplicator-home", "--brooklin-home", "--drain-idle")
	loadgen(t, nil, "scenario", "show", "control").want(t, exitHolds, "name: control\n", "expect: lost == 0")
	loadgen(t, nil, "__complete", "scenario", "run", "control", "kill-").want(t, exitHolds, "kill-source-broker\n", "kill-destination-broker\n")
	loadgen(t, nil, "__complete", "scenario", "run", "--target", "").want(t, exitHolds, "demo\n", "lab\n")
}

func TestScenarioRunAndCompare(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	brief := scenarioFile(t, "brief", "1s", "lost == 0")
	r := loadgen(t, nil, "scenario", "run", brief, "packet-loss-workers", "--target", "demo", "--steady-for", "2s", "--output", dir)
	r.want(t, exitHolds, "1 of 2: brief, mirror, run 1", "steady after", "NOT PLAYED", "compared in "+filepath.Join(dir, "index.html"))
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil || !strings.Contains(string(page), `href="./brief/mirror/run-1/report.html"`) {
		t.Errorf("the comparison has no link to the report: %v", err)
	}
	report, err := os.ReadFile(filepath.Join(dir, "brief", "mirror", "run-1", "report.html"))
	if err != nil || !strings.Contains(string(report), "A second of load.") {
		t.Errorf("the report does not say what is tested: %v", err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	r = loadgen(t, nil, "scenario", "run", scenarioFile(t, "brief", "1s", "latency.max <= 1us"), "--target", "demo", "--steady-for", "2s", "--output", broken)
	if r.code != exitBroken || !strings.Contains(r.stdout, "BROKEN") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.stdout, r.stderr)
	}
	both := filepath.Join(t.TempDir(), "both")
	loadgen(t, nil, "scenario", "compare", dir, broken, "--output", both).want(t, exitHolds, "HOLDS", "BROKEN", "NOT PLAYED")
	text, err := os.ReadFile(filepath.Join(both, "results.md"))
	if err != nil || strings.Count(string(text), "| brief | mirror | 1 |") != 2 {
		t.Errorf("%v\n%s", err, text)
	}
}

// A scenario whose replicator is not there is not played, and has not passed.
func TestScenarioWithoutItsReplicatorIsNotPlayed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	r := loadgen(t, nil, "scenario", "run", "control", "controllers-lose-all", "--replicator", "ureplicator,brooklin", "--ocean", "off", "--output", dir)
	if n := strings.Count(r.stdout, "NOT PLAYED"); n != 4 || r.code != exitCannotSay {
		t.Errorf("%d of 4 were not played, exit code %d:\n%s%s", n, r.code, r.stdout, r.stderr)
	}
	for _, why := range []string{"no registry has uReplicator", "no registry has Brooklin", "only ureplicator has what is tested"} {
		if !strings.Contains(r.stdout, why) {
			t.Errorf("does not say %q:\n%s", why, r.stdout)
		}
	}
}

// Killed by kill -9 in the middle of the second of three scenarios, the runner goes on with it, and with the flags that it
// was given.
func TestKilledScenarioRunnerResumes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	cmd := exec.CommandContext(t.Context(), binary, "scenario", "run", scenarioFile(t, "first", "1s", "lost == 0"), scenarioFile(t, "second", "20s", "lost == 0"),
		scenarioFile(t, "third", "1s", "lost == 0"), "--target", "demo", "--steady-for", "2s", "--output", dir)
	cmd.Env = environment()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && !killed; time.Sleep(100 * time.Millisecond) {
		r, err := scenario.ReadResult(filepath.Join(dir, "second", "mirror", "run-1"))
		if err != nil || len(r.Phases) == 0 {
			continue
		}
		if _, err := r.ReadVerdict(); err == nil {
			loadgen(t, nil, "scenario", "run", "--resume", dir).want(t, exitTrouble, dir+" is being played by another loadgen: wait for its end, or stop it")
			killed = cmd.Process.Signal(syscall.SIGKILL) == nil
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !killed {
		t.Fatal("the second scenario was never played")
	}
	r := loadgen(t, nil, "scenario", "run", "--resume", dir)
	if r.code != exitHolds || !strings.Contains(r.stdout, "has been played before: holds") || !strings.Contains(r.stdout, "was interrupted: it is played again") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.stdout, r.stderr)
	}
	results, err := scenario.ReadResults(dir)
	if err != nil || len(results) != 3 {
		t.Fatalf("%d results: %v", len(results), err)
	}
	for i, want := range []struct {
		outcome verdict.Outcome
		state   string
	}{{verdict.Holds, scenario.Finished}, {verdict.Holds, scenario.Finished}, {verdict.Holds, scenario.Finished}} {
		if r := results[i]; r.Outcome != want.outcome || r.State != want.state || r.Figures == nil || r.Figures.Received == 0 {
			t.Errorf("%s: %s (%s): %v", r.Scenario, r.Outcome, r.State, r.Reasons)
		}
		doc, err := results[i].ReadVerdict()
		if err != nil || doc.Config["steady-for"] != "2s" {
			t.Errorf("%s was not played with the flags that the run was given: %v (%v)", results[i].Scenario, doc.Config, err)
		}
	}
}

// What a plan keeps of the flags is what they are set by again, lists and sizes too, but for what is given anew.
func TestFlagsOfTheRunThatIsResumed(t *testing.T) {
	t.Parallel()
	flags := func(args ...string) (*pflag.FlagSet, *[]string) {
		f := pflag.NewFlagSet("run", pflag.ContinueOnError)
		servers := f.StringSlice("source-bootstrap", nil, "")
		f.Duration("delay", 40*time.Millisecond, "")
		f.Duration("jitter", 0, "")
		f.String("output", "", "")
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		return f, servers
	}
	first, _ := flags("--source-bootstrap", "a:1,b:2", "--delay", "100ms", "--output", "x")
	given := givenFlags(first)
	if want := map[string]string{"source-bootstrap": "a:1,b:2", "delay": "100ms"}; !maps.Equal(given, want) {
		t.Errorf("kept %v, want %v", given, want)
	}
	second, servers := flags("--delay", "10ms")
	if err := giveAgain(second, given); err != nil || !slices.Equal(*servers, []string{"a:1", "b:2"}) || second.Lookup("delay").Value.String() != "10ms" {
		t.Errorf("resumed with %v, delay %s: %v", *servers, second.Lookup("delay").Value, err)
	}
	if err := giveAgain(second, map[string]string{"jitter": "much"}); err == nil || !strings.Contains(err.Error(), "--jitter, which the run was begun with") {
		t.Errorf("a value that is none: %v", err)
	}
}

// The probes that the catalogue names exist, with the checks and settings that it speaks of.
func TestProbesOfTheCatalogue(t *testing.T) {
	t.Parallel()
	probes := 0
	names, err := scenario.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		s, err := scenario.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Probe == "" {
			continue
		}
		probes++
		if _, err := probeConfig(s.Probe, s.ProbeSettings); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checks, _ := probe.Checks(s.Probe)
		for _, e := range s.Expectations {
			if check, ok := strings.CutPrefix(e.Expect, "probe["); ok {
				check, _, _ = strings.Cut(check, "]")
				if !slices.Contains(checks, check) {
					t.Errorf("%s: the probe %s has no check %q: it has %v", name, s.Probe, check, checks)
				}
			}
		}
	}
	if probes != len(probe.Names()) {
		t.Errorf("%d of %d probes are in the catalogue", probes, len(probe.Names()))
	}
	if _, err := probeConfig("fidelity", map[string]string{"idle": "soon", "colour": "red"}); err == nil || !strings.Contains(err.Error(), "probeSettings: idle:") || !strings.Contains(err.Error(), "colour: is not known") {
		t.Errorf("%v", err)
	}
}

func TestScenarioMakesAProbe(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	path := scenarioFile(t, "looks", "1s", "probe[values] == 0")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "baseline:\n", "probe: fidelity\nprobeSettings: {idle: 30s, settle: 1s}\nbaseline:\n  topicPattern: (load|probe-).*\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	r := loadgen(t, nil, "scenario", "run", path, "--target", "demo", "--steady-for", "2s", "--output", dir)
	results, err := scenario.ReadResults(dir)
	if err != nil || len(results) != 1 || results[0].Probe == nil {
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	res := results[0]
	if len(res.Probe.Checks) < 9 || res.Probe.Error != "" || res.Expectations[0].Outcome != verdict.Holds || !strings.HasPrefix(res.Expectations[0].Actual, "0 of ") {
		t.Errorf("%+v\n%+v", res.Probe, res.Expectations)
	}
	if _, err := os.Stat(filepath.Join(res.Dir, scenario.ProbeFile)); err != nil {
		t.Error(err)
	}
}

// The lab can play every scenario of the catalogue, or says what it has not; none is a mistake to it.
func TestCatalogueFitsTheLab(t *testing.T) {
	t.Parallel()
	var c lab.Config
	c.SetDefaults()
	c.Output = filepath.Join(t.TempDir(), "report")
	names, err := scenario.Names()
	if err != nil {
		t.Fatal(err)
	}
	fit := 0
	for _, name := range names {
		s, err := scenario.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := lab.New(c, slog.New(slog.DiscardHandler), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		switch err := l.Check(s.Configs()); {
		case err == nil:
			fit++
		case !errors.Is(err, scenario.ErrCannotPlay):
			t.Errorf("%s: %v", name, err)
		case s.Needs == nil && !slices.Contains(s.Replicators, scenario.UReplicator):
			t.Errorf("%s needs what it does not say: %v", name, err)
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if fit < 20 {
		t.Errorf("only %d of %d can be played", fit, len(names))
	}
}
