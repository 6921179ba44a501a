//go:build pulumi

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/demo"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
	"github.com/AppsFlyer/kafka-mirror-tester/stacks/target"
)

// Here scenarios are played on the two stacks by the real Pulumi CLI, with a file backend. `make
// test-pulumi` runs these tests, which build the CLI the first time.
//
//   - The program is the real one, served by this process, since the CLI's own way to run Go is not to be
//     had here.
//   - Doubles stand for the providers: this test binary again, as plugins.
//   - Nothing runs in the stacks. What the auditor says comes from the embedded clusters of the demo, with
//     the real load tools and the real auditor, which follow the stacks' outputs after each update.

// Environment of this binary as a provider's plugin.
const (
	pluginVariable = "KMT_TEST_PLUGIN"
	ordersVariable = "KMT_TEST_ORDERS"
)

func TestMain(m *testing.M) {
	pkg := os.Getenv(pluginVariable)
	if pkg == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT) // by either the CLI ends a plugin
	defer stop()
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent { // a CLI that was killed takes us along
			time.Sleep(time.Second)
		}
		stop()
	}()
	if err := enginetest.ServePlugin(ctx, pkg, enginetest.Orders(os.Getenv(ordersVariable)), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// buildPulumi returns the directory of a CLI of the version that go.mod has, which is built once and kept
// in the user's cache directory.
func buildPulumi(t *testing.T) string {
	t.Helper()
	const module = "github.com/pulumi/pulumi/pkg/v3"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(out))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "kafka-mirror-tester", "pulumi-"+strings.TrimPrefix(version, "v"))
	if _, err := os.Stat(filepath.Join(dir, "pulumi")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A module graph like ours, in a file of its own: the CLI needs checksums that we do not.
	mod := t.TempDir()
	for from, to := range map[string]string{"../go.mod": "cli.mod", "../go.sum": "cli.sum"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(mod, to), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("building the Pulumi CLI %s, which takes some minutes the first time", version)
	fresh := filepath.Join(dir, fmt.Sprintf("pulumi.%d", os.Getpid()))
	defer os.Remove(fresh)
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-modfile="+filepath.Join(mod, "cli.mod"), "-o", fresh,
		"-ldflags", "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version="+version, module+"/cmd/pulumi")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the Pulumi CLI: %v\n%s", err, out)
	}
	if err := os.Rename(fresh, filepath.Join(dir, "pulumi")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rig is a Pulumi project with both stacks, the CLI and doubles of providers.
type rig struct {
	t       *testing.T
	dir     string // of Pulumi.yaml
	backend string
	orders  enginetest.Orders
	world   *world
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), backend: t.TempDir(), orders: enginetest.Orders(t.TempDir())}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"aws", "eks", "kubernetes"} {
		script := fmt.Sprintf("#!/bin/sh\n%s=%s %s='%s' exec '%s' 2>>'%s'\n", pluginVariable, pkg, ordersVariable, r.orders, self, filepath.Join(string(r.orders), "plugins.log"))
		if err := os.WriteFile(filepath.Join(bin, "pulumi-resource-"+pkg), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"PATH":                     strings.Join([]string{bin, buildPulumi(t), os.Getenv("PATH")}, string(os.PathListSeparator)),
		"PULUMI_HOME":              t.TempDir(),
		"PULUMI_BACKEND_URL":       "file://" + r.backend,
		"PULUMI_CONFIG_PASSPHRASE": "correct horse",
		"PULUMI_SKIP_UPDATE_CHECK": "true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
	} {
		t.Setenv(name, value)
	}
	for _, name := range []string{"Pulumi.yaml", "Pulumi.us-east-1.yaml", "Pulumi.eu-west-1.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(r.dir, "stacks"), 0o755); err != nil {
		t.Fatal(err)
	}
	for role, stack := range map[string]string{source: "us-east-1", destination: "eu-west-1"} {
		r.pulumi("stack", "init", stack, "--no-select")
		r.pulumi("config", "set-all", "--stack", stack, "--plaintext", "nodeRelease=1.35.0-20260101", "--path",
			"--plaintext", "apiCidrs[0]=203.0.113.7/32",
			"--plaintext", "versions.vpcCni=v1.20.4-eksbuild.2", "--plaintext", "versions.kubeProxy=v1.35.0-eksbuild.2",
			"--plaintext", "versions.coreDns=v1.12.4-eksbuild.1", "--plaintext", "versions.podIdentityAgent=v1.3.9-eksbuild.3",
			"--plaintext", "kafkaConfig[\"num.io.threads\"]=16")
		var images map[string]string
		if err := json.Unmarshal([]byte(fakeImages()), &images); err != nil {
			t.Fatal(err)
		}
		args := []string{"config", "set-all", "--stack", stack, "--path"}
		for name, image := range images {
			args = append(args, "--plaintext", "images."+name+"="+image)
		}
		r.pulumi(args...)
		if role == destination {
			r.pulumi("config", "set", "--stack", stack, "--secret", "grafanaPassword", markGrafana)
		}
	}
	t.Cleanup(func() {
		if text, _ := os.ReadFile(filepath.Join(string(r.orders), "plugins.log")); len(text) > 0 && t.Failed() {
			t.Logf("what the plugins wrote:\n%s", text)
		}
	})
	r.world = newWorld(r)
	return r
}

// pulumi runs the CLI in the project.
func (r *rig) pulumi(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("pulumi", append(args, "--non-interactive")...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("pulumi %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// target makes a target on the rig's stacks.
func (r *rig) target(change ...func(*target.Config)) *target.Target {
	r.t.Helper()
	var c target.Config
	c.SetDefaults()
	c.Project = r.dir
	for _, f := range change {
		f(&c)
	}
	declared := project(r.t).Config
	command, err := target.NewCommand()
	if err != nil {
		r.t.Fatal(err)
	}
	made, err := target.New(c, target.Deps{
		Logger: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Say: func(line string) { r.t.Logf("%s  %s", time.Now().Format("15:04:05"), line) },
		Reach: func(target.Where) target.Reach { return r.world }, Command: &followed{command, r.world},
		Program: func(string) pulumi.RunFunc {
			return func(ctx *pulumi.Context) error {
				// A program that is no process of its own has no environment; its keys are asked one by one.
				values := map[string]string{}
				for key := range declared {
					if value, ok := ctx.GetConfig(projectName + ":" + key); ok {
						values[projectName+":"+key] = value
					}
				}
				return program(ctx, values)
			}
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

// locks are the locks that are left in the backend.
func (r *rig) locks() []string {
	var found []string
	_ = filepath.WalkDir(filepath.Join(r.backend, ".pulumi", "locks"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// followed is the CLI; after each update the world follows.
type followed struct {
	auto.PulumiCommand
	world *world
}

func (f *followed) Run(ctx context.Context, dir string, stdin io.Reader, stdouts, stderrs []io.Writer, env []string, args ...string) (string, string, int, error) {
	stdout, stderr, code, err := f.PulumiCommand.Run(ctx, dir, stdin, stdouts, stderrs, env, args...)
	if err == nil && args[0] == "up" {
		err = f.world.follow(ctx)
	}
	return stdout, stderr, code, err
}

// world is what would run in the stacks: the demo's embedded clusters, which are as the outputs of both
// stacks say. It is the way into the clusters too.
type world struct {
	rig    *rig
	server *httptest.Server

	mu     sync.Mutex
	demo   *demo.Target
	now    *scenario.Config
	final  *verdict.Document
	told   []verdict.Event // by whom the stacks belong to
	failed error
}

func newWorld(r *rig) *world {
	w := &world{rig: r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /verdict", func(out http.ResponseWriter, req *http.Request) {
		d := w.running()
		if d == nil {
			http.Error(out, "not ready", http.StatusServiceUnavailable)
			return
		}
		doc, err := d.Status(req.Context())
		if err != nil {
			http.Error(out, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = doc.Write(out)
	})
	mux.HandleFunc("POST /events", func(out http.ResponseWriter, req *http.Request) {
		var e verdict.Event
		d := w.running()
		if err := json.NewDecoder(req.Body).Decode(&e); err != nil || d == nil {
			http.Error(out, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		w.mu.Lock()
		w.told = append(w.told, e)
		w.mu.Unlock()
		if kind, _ := strings.CutSuffix(e.Kind, scenario.EndSuffix); scenario.FaultKinds()[kind].Target == "" {
			_ = d.Mark(req.Context(), e) // of a fault the embedded clusters have told already
		}
	})
	mux.HandleFunc("POST /drain", func(out http.ResponseWriter, _ *http.Request) {
		d := w.running()
		go func() {
			doc, err := d.Drain(context.Background())
			w.mu.Lock()
			defer w.mu.Unlock()
			w.final, w.failed = doc, err
		}()
		out.WriteHeader(http.StatusAccepted)
	})
	w.server = httptest.NewServer(mux)
	r.t.Cleanup(func() {
		w.server.Close()
		w.stop()
	})
	return w
}

func (w *world) stop() {
	if d := w.running(); d != nil {
		if err := d.Stop(context.Background()); err != nil {
			w.rig.t.Error(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.demo, w.now, w.final = nil, nil, nil
}

func (w *world) running() *demo.Target {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.demo
}

// follow makes the embedded clusters as the outputs of both stacks say.
func (w *world) follow(ctx context.Context) error {
	var c scenario.Config
	c.SetSmallDefaults()
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		cmd := exec.Command("pulumi", "stack", "output", "config", "--stack", stack, "--non-interactive")
		cmd.Dir = w.rig.dir
		text, err := cmd.Output()
		if err != nil {
			return nil // it has not been made yet
		}
		var out exportedConfig
		if err := json.Unmarshal(text, &out); err != nil {
			return fmt.Errorf("output config of %s: %w", stack, err)
		}
		if c.Shared = out.Shared; out.Source != nil {
			c.Source = *out.Source
		} else {
			c.Destination.Cluster = out.Cluster
		}
	}
	w.mu.Lock()
	before := w.now
	w.mu.Unlock()
	if before != nil && before.TestID != c.TestID {
		w.stop()
		before = nil
	}
	switch {
	case before == nil && c.Source.Producers > 0:
		d := demo.NewTarget(demo.TargetDeps{Logger: slog.New(slog.DiscardHandler)})
		if err := d.Start(ctx, c); err != nil {
			return errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
		}
		w.mu.Lock()
		w.demo, w.now = d, &c
		w.mu.Unlock()
	case before != nil && c.Source.Producers > 0:
		w.mu.Lock()
		w.now = &c
		w.mu.Unlock()
		return w.running().Converge(ctx, c)
	}
	return nil
}

func (w *world) Auditor(context.Context, bool) (string, error) { return w.server.URL, nil }

func (w *world) Final(context.Context) (*verdict.Document, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final == nil {
		return nil, errors.Join(errors.New("there is none yet"), w.failed)
	}
	return w.final, nil
}

// Fault is when the embedded clusters told of the fault.
func (w *world) Fault(ctx context.Context, side, object string, end bool) (time.Time, error) {
	kind := object[:strings.LastIndex(object, "-")]
	if end {
		kind += scenario.EndSuffix
	}
	for {
		doc, err := w.running().Status(ctx)
		if err != nil {
			return time.Time{}, err
		}
		for _, e := range slices.Backward(doc.Events) {
			if e.Kind == kind && e.Side == side {
				return time.UnixMicro(e.Time), nil
			}
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *world) Evidence(context.Context, string) error { return nil }

func (w *world) Close() {}

const recordFile = "../docs/results/pulumi.md"

// play plays a scenario on targets of the rig, which it returns.
func (r *rig) play(ctx context.Context, output string, repeat int, run func(context.Context, *scenario.Runner) ([]*scenario.Result, error), change ...func(*target.Config)) ([]*scenario.Result, []*target.Target, error) {
	r.t.Helper()
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output, c.SteadyFor, c.Repeat = output, 2*time.Second, repeat
	c.StartTimeout, c.ConvergeTimeout, c.DrainTimeout = time.Hour, time.Hour, time.Hour // no test of speed
	var targets []*target.Target
	runner, err := scenario.NewRunner(c, scenario.RunDeps{
		Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
		Target: func(string) (scenario.Target, error) {
			targets = append(targets, r.target(change...))
			return targets[len(targets)-1], nil
		},
		Progress: func(p scenario.Progress) {
			if p.Message != "" {
				r.t.Logf("%s  %s: %s", time.Now().Format("15:04:05"), p.Phase, p.Message)
			}
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	results, err := run(ctx, runner)
	return results, targets, err
}

func (r *rig) file(stack string) string {
	text, err := os.ReadFile(filepath.Join(r.dir, "Pulumi."+stack+".yaml"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// clean reports what an update must not leave behind.
func (r *rig) clean() {
	r.t.Helper()
	if locks := r.locks(); len(locks) > 0 {
		r.t.Errorf("locked: %q", locks)
	}
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		if state := r.pulumi("stack", "export", "--stack", stack); strings.Contains(state, "pending_operations") {
			r.t.Errorf("%s has operations of which nobody knows what came of them", stack)
		}
	}
}

// A whole scenario, with its updates: up in order, each step, and destroyed in the other order.
func TestAScenarioIsPlayedOnBothStacks(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	files := map[string]string{"us-east-1": r.file("us-east-1"), "eu-west-1": r.file("eu-west-1")}
	output := filepath.Join(t.TempDir(), "results")
	results, targets, err := r.play(ctx, output, 1, func(ctx context.Context, runner *scenario.Runner) ([]*scenario.Result, error) {
		return runner.Run(ctx, []string{"testdata/two-stacks.yaml"})
	}, func(c *target.Config) { c.Destroy = true })
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		for _, step := range result.Steps {
			if step.Error != "" {
				t.Errorf("step %q: %s", step.Title, step.Error)
			}
		}
		if result.Outcome != verdict.Holds || len(result.Steps) != 4 {
			t.Errorf("outcome %q after %d steps: %q, notes %q", result.Outcome, len(result.Steps), result.Reasons, result.Notes)
		}
	}
	for stack, text := range files {
		if r.file(stack) != text {
			t.Errorf("the user's configuration of %s was changed", stack)
		}
	}
	r.clean()
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		if left := r.pulumi("stack", "export", "--stack", stack); strings.Contains(left, `"urn"`) {
			t.Errorf("destroy leaves in %s:\n%s", stack, left)
		}
	}
	r.world.mu.Lock()
	told := slices.Clone(r.world.told)
	r.world.mu.Unlock()
	for _, kind := range []string{"broker-outage", "broker-outage" + scenario.EndSuffix} {
		if !slices.ContainsFunc(told, func(e verdict.Event) bool {
			return e.Kind == kind && e.Side == source && e.Time > 0 && !strings.Contains(e.Detail, "cannot be read")
		}) {
			t.Errorf("the auditor was not told of %s with its real time: %+v", kind, told)
		}
	}
	evidence(t, filepath.Join(output, "two-stacks", "mirrormaker2", "run-1", scenario.EvidenceDir))
	record(t, targets[1], results[0])
}

// evidence must be there, without secrets.
func evidence(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"updates.json", "source-state.json", "source-outputs.json", "source-config.json", "destination-state.json", "destination-outputs.json", "destination-config.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		if len(text) < 200 {
			t.Errorf("%s is no evidence: %s", name, text)
		}
		for _, secret := range []string{markGrafana, "ciphertext", "encryptionsalt", "correct horse"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has the secret %s", name, secret)
			}
		}
	}
}

// record compares what was done with the recorded run, or records it.
func record(t *testing.T, played *target.Target, result *scenario.Result) {
	t.Helper()
	var doc strings.Builder
	doc.WriteString(`# A scenario on target pulumi

Recorded by ` + "`make test-pulumi ARGS=-update`" + `, and compared by each ` + "`make test-pulumi`" + `: [two-stacks.yaml](../../stacks/testdata/two-stacks.yaml),
played by ` + "`scenario run`" + `'s runner with ` + "`--destroy`" + ` by the real Pulumi CLI on both stacks' files, with a file backend. **Nothing of it ran on AWS**: doubles
stand for the providers, and the embedded clusters of the demo, which followed the stacks' outputs, for what would have run.

| | stack | configuration set for it | operations |
|---|---|---|---|
`)
	for i, u := range played.Updates() {
		operations := u.Counts()
		if len(u.Operations) <= 8 && len(u.Operations) > 0 {
			var short_ []string
			for _, op := range u.Operations {
				short_ = append(short_, short(op))
			}
			operations = strings.Join(short_, "<br>")
		}
		var set []string
		for _, s := range u.Set {
			set = append(set, "`"+strings.ReplaceAll(s, "|", "\\|")+"`")
		}
		fmt.Fprintf(&doc, "| %d | %s %s | %s | %s |\n", i+1, u.What, u.Stack, strings.Join(set, "<br>"), operations)
	}
	fmt.Fprintf(&doc, "\nOutcome: **%s**\n\n| expected | outcome |\n|---|---|\n", result.Outcome)
	for _, e := range result.Expectations {
		fmt.Fprintf(&doc, "| %s | %s |\n", e.Expectation, e.Outcome)
	}
	if *update {
		if err := os.WriteFile(recordFile, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.String(); got != string(want) {
		t.Errorf("%s is not what happens; look at the difference, and then run make test-pulumi ARGS=-update:\n%s", recordFile, firstDifference(string(want), got))
	}
}

// An update that fails says which resource did, and the next run goes on.
func TestAnUpdateThatFailsIsGoneOnWith(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var c scenario.Config
	c.SetSmallDefaults()
	if err := r.orders.Fail("kubernetes:apps/v1:StatefulSet", "kafka"); err != nil {
		t.Fatal(err)
	}
	first := r.target()
	err := first.Start(ctx, c)
	if err == nil || !strings.Contains(err.Error(), "pulumi up --stack us-east-1: kubernetes:apps/v1:StatefulSet kafka") || !strings.Contains(err.Error(), "ordered to fail") {
		t.Fatalf("a failed update: %v", err)
	}
	r.clean()
	if err := first.Stop(ctx); err != nil {
		t.Error(err)
	}
	again := r.target()
	if err := again.Start(ctx, c); err != nil {
		t.Fatal(err)
	}
	made := again.Updates()[0].Operations
	if !slices.Contains(made, "create kubernetes:apps/v1:StatefulSet kafka") || slices.ContainsFunc(made, func(op string) bool { return strings.HasPrefix(op, "create aws:ec2/vpc:Vpc") }) {
		t.Errorf("the next update did %q", made)
	}
	if err := again.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// An interrupt in the middle of an update ends it in order, leaves no lock, and --resume goes on.
func TestAnInterruptLeavesNoLockAndIsResumed(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	held, err := r.orders.Hold("kubernetes:apps/v1:StatefulSet", "kafka")
	if err != nil {
		t.Fatal(err)
	}
	interrupted, interrupt := context.WithCancel(ctx)
	go func() {
		for interrupted.Err() == nil {
			if _, err := os.Stat(held); err == nil {
				t.Log("interrupting")
				interrupt()
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	output := filepath.Join(t.TempDir(), "results")
	results, targets, err := r.play(interrupted, output, 2, func(ctx context.Context, runner *scenario.Runner) ([]*scenario.Result, error) {
		return runner.Run(ctx, []string{"testdata/at-rest.yaml"})
	})
	if !errors.Is(err, context.Canceled) || len(results) == 0 || results[0].State != scenario.Interrupted {
		t.Fatalf("%v, results %+v", err, results)
	}
	last := targets[1].Updates()
	if len(last) == 0 || !strings.Contains(last[0].Error, "was interrupted") || !slices.Contains(last[0].Operations, "create kubernetes:apps/v1:StatefulSet kafka") {
		t.Errorf("what was in flight is to be completed; updates: %+v", last)
	}
	r.clean()

	results, targets, err = r.play(ctx, output, 2, func(ctx context.Context, runner *scenario.Runner) ([]*scenario.Result, error) {
		return runner.Resume(ctx)
	})
	if err != nil || len(results) != 2 || results[1].Outcome != verdict.Holds {
		t.Fatalf("resumed: %v, results %+v", err, results)
	}
	first := targets[1].Updates()[0]
	if first.Stack != "us-east-1" || slices.ContainsFunc(first.Operations, func(op string) bool { return strings.HasPrefix(op, "create aws:ec2/vpc:Vpc") }) {
		t.Errorf("what had been made was made again: %+v", first)
	}
	r.clean()
}
