package target

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// cli answers as Pulumi's CLI does, and makes nothing. What only the real one can show is in make test-pulumi.
type cli struct {
	mu   sync.Mutex
	runs []string           // up and destroy, with the stack
	slow chan struct{}      // an up lasts until it is closed; nil: no time
	hit  func(stack string) // by each up
}

func (*cli) Version() semver.Version { return semver.MustParse("3.200.0") }

func (c *cli) Run(ctx context.Context, _ string, _ io.Reader, _, _ []io.Writer, _ []string, args ...string) (string, string, int, error) {
	stack := ""
	if i := slices.Index(args, "--stack"); i >= 0 {
		stack = args[i+1]
	}
	switch command := strings.Join(args[:2], " "); {
	case command == "stack output":
		return `{"hourlyUSD": 1.25}`, "", 0, nil
	case command == "stack history":
		return `[]`, "", 0, nil
	case command == "config get":
		return `{"value": "the kubeconfig of ` + stack + `", "secret": true}`, "", 0, nil
	case args[0] == "up" || args[0] == "destroy":
		c.mu.Lock()
		c.runs = append(c.runs, args[0]+" "+stack)
		c.mu.Unlock()
		if c.hit != nil {
			c.hit(stack)
		}
		if c.slow != nil {
			select {
			case <-c.slow:
			case <-ctx.Done():
				return "", "", 1, ctx.Err()
			}
		}
	}
	return "", "", 0, nil
}

// auditor answers as the auditor does, of a test that holds.
type auditor struct {
	*httptest.Server
	where  Where
	faults chan time.Time // when one began or ended
	test   string
}

func newAuditor(t *testing.T) *auditor {
	a := &auditor{faults: make(chan time.Time, 2), test: "test"}
	a.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			_ = a.document().Write(out)
		}
	}))
	t.Cleanup(a.Server.Close)
	return a
}

func (a *auditor) document() *verdict.Document {
	d := &verdict.Document{Schema: verdict.Schema}
	d.Verdict.Test, d.Verdict.Outcome, d.Verdict.Final, d.Verdict.Total.Received = a.test, verdict.Holds, true, 1
	return d
}

func (a *auditor) Auditor(context.Context, bool) (string, error)    { return a.URL, nil }
func (a *auditor) Final(context.Context) (*verdict.Document, error) { return a.document(), nil }
func (a *auditor) Evidence(context.Context, string) error           { return nil }
func (a *auditor) Close()                                           {}
func (a *auditor) Fault(ctx context.Context, _, _ string, _ bool) (time.Time, error) {
	select {
	case at := <-a.faults:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// played is a target by the CLI's double, what it says, and a Config to start from.
func played(t *testing.T, more string) (*Target, *cli, *auditor, *lines, scenario.Config) {
	t.Helper()
	tgt := newTarget(t, more)
	c, a, said := &cli{}, newAuditor(t), &lines{}
	tgt.deps.Command, tgt.deps.Say, tgt.pace, tgt.tell = c, said.add, time.Millisecond, time.Millisecond
	tgt.deps.Reach = func(w Where) Reach { a.where = w; return a }
	var base scenario.Config
	base.SetSmallDefaults()
	base.TestID = a.test
	t.Cleanup(func() {
		if err := tgt.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tgt, c, a, said, base
}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

// has waits for a line.
func (l *lines) has(t *testing.T, part string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		found := slices.ContainsFunc(l.all, func(line string) bool { return strings.Contains(line, part) })
		l.mu.Unlock()
		if found {
			return
		}
	}
	t.Errorf("%q is not said in %q", part, l.all)
}

// A load that ends by itself in the middle of a scenario must not have it come to hold: a fault that hits no load
// loses nothing.
func TestALoadThatEndedByItself(t *testing.T) {
	tgt, c, _, said, base := played(t, "")
	tgt.cfg.TTL = time.Hour
	if err := tgt.Start(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	said.has(t, "both stacks cost about 2.50 USD an hour")
	if got := strings.Join(c.runs, ", "); got != "up us-east-1, up eu-west-1, up us-east-1, up eu-west-1" {
		t.Errorf("the start: %s", got)
	}
	tgt.expires = time.Now().Add(-time.Second)
	next := base
	next.Source.Brokers = 4
	if err := tgt.Converge(t.Context(), next); err == nil || !strings.Contains(err.Error(), "the load ended by itself at ") || !strings.Contains(err.Error(), "a --ttl longer than 1h") {
		t.Errorf("a step without load: %v", err)
	}
	doc, err := tgt.Drain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := doc.Verdict; v.Outcome != verdict.CannotSay || len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], "before the scenario's end") {
		t.Errorf("the verdict: %s: %q", v.Outcome, v.Reasons)
	}
}

func TestALoadThatCouldNotBegin(t *testing.T) {
	tgt, c, _, _, base := played(t, "  kafka-mirror-tester:expires: \"2020-01-01T00:00:00Z\"\n")
	err := tgt.Start(t.Context(), base)
	if err == nil || !strings.Contains(err.Error(), "before the load could begin: set expires of the stack us-east-1 to a later time") {
		t.Errorf("a load that is over before it begins: %v", err)
	}
	if len(c.runs) != 2 {
		t.Errorf("updates: %q", c.runs)
	}
}

// What takes long says how far it is, and what it waits for.
func TestWhatTakesLongIsToldOf(t *testing.T) {
	tgt, c, a, said, base := played(t, "")
	c.slow, a.test = make(chan struct{}), "another"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- tgt.Start(ctx, base) }()
	said.has(t, "pulumi up --stack us-east-1: after 0s 0 done")
	close(c.slow)
	said.has(t, "waiting until a record has crossed: the auditor is still at the test another")
	cancel()
	if err := <-done; err == nil {
		t.Error("the start has succeeded")
	}
}

func TestProgressOfAnUpdate(t *testing.T) {
	w := newWatcher()
	send := func(of func(*apitype.EngineEvent)) {
		e := events.EngineEvent{}
		of(&e.EngineEvent)
		w.events <- e
	}
	meta := func(op apitype.OpType, name string) apitype.StepEventMetadata {
		return apitype.StepEventMetadata{Op: op, URN: "urn:pulumi:s::p::a$aws:eks/cluster:Cluster::" + name, Type: "aws:eks/cluster:Cluster"}
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		send(func(e *apitype.EngineEvent) {
			e.ResourcePreEvent = &apitype.ResourcePreEvent{Metadata: meta(apitype.OpCreate, name)}
		})
	}
	send(func(e *apitype.EngineEvent) {
		e.ResourcePreEvent = &apitype.ResourcePreEvent{Metadata: meta(apitype.OpSame, "same")}
	})
	send(func(e *apitype.EngineEvent) {
		e.ResOutputsEvent = &apitype.ResOutputsEvent{Metadata: meta(apitype.OpCreate, "a")}
	})
	send(func(e *apitype.EngineEvent) {
		e.ResOutputsEvent = &apitype.ResOutputsEvent{Metadata: meta(apitype.OpSame, "same")}
	}) // and the one before is taken
	if got, want := w.progress(), "1 done, at work on aws:eks/cluster:Cluster b, aws:eks/cluster:Cluster c, aws:eks/cluster:Cluster d and 1 more"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	w.end()
}

// An interrupt does not wait for the end of a fault.
func TestADrainIsInterruptedDuringAFault(t *testing.T) {
	tgt, _, a, _, base := played(t, "")
	if err := tgt.Start(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	next := base
	next.Source.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{0}, Duration: scenario.Duration(24 * time.Hour), Run: 1}
	a.faults <- time.Now()
	if err := tgt.Converge(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tgt.Drain(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "waiting for the end of a fault") {
		t.Errorf("%v", err)
	}
}

// kubectl is given the kubeconfig that a stack has, which may not be the user's current one, and no other file
// keeps it.
func TestTheKubeconfigOfAStack(t *testing.T) {
	tgt, _, a, _, base := played(t, "  kafka-mirror-tester:kubeconfig: {secure: v1:abc}\n")
	if err := tgt.Start(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	dir := tgt.dir
	for side, stack := range map[string]string{source: "us-east-1", destination: "eu-west-1"} {
		cmd, err := newKubectl(a.where).command(t.Context(), side, "get", "pods")
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "KUBECONFIG=")
		text, err := os.ReadFile(path)
		if err != nil || string(text) != "the kubeconfig of "+stack || slices.Contains(cmd.Args, "--context") {
			t.Errorf("%s: kubectl %q with %q: %v", side, cmd.Args, text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if err := tgt.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// What is needed when both stacks are there is looked for before one is.
func TestProgramsThatAreMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for more, want := range map[string][]string{
		"": {"install aws", "install kubectl"},
		"  kafka-mirror-tester:kubeconfig: {secure: v1:abc}\n": {"install kubectl"},
	} {
		tgt, c, _, _, base := played(t, more)
		tgt.deps.Reach = nil
		err := tgt.Start(t.Context(), base)
		if err == nil || strings.Count(err.Error(), "install ") != len(want) || len(c.runs) > 0 {
			t.Errorf("%v after %q", err, c.runs)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v does not say %q", err, part)
			}
		}
	}
}

// Evidence of what answers is kept, whatever does not.
func TestEvidenceOfWhatAnswers(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in *logs*) echo half; exit 1;; *events*) exit 1;; *) echo \"$*\";; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir := t.TempDir()
	k := newKubectl(Where{Clusters: map[string]ClusterAt{source: {Namespace: "s", Chaos: "c"}, destination: {Namespace: "d", Chaos: "c"}}, Dir: dir})
	err := k.Evidence(t.Context(), dir)
	if err == nil || strings.Count(err.Error(), "kubectl --namespace") != 4 {
		t.Errorf("%v", err)
	}
	for name, want := range map[string]string{"source-logs.txt": "half", "destination-objects.txt": "--namespace d get pods", "source-faults.yaml": "--namespace c get podchaos"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
