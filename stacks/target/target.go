// Package target plays scenarios on the two stacks: a step of a scenario is a change of a stack's
// configuration and an update, by Pulumi's Automation API.
//
// It does not import the Pulumi program itself, which the CLI runs.
package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Config says which stacks are used, and what becomes of them.
type Config struct {
	// Project is the directory of Pulumi.yaml.
	Project string
	// SourceStack and DestinationStack are the names of the stacks.
	SourceStack, DestinationStack string
	// Destroy destroys both at the end of each scenario, the destination first. Else they stay, without
	// load.
	Destroy bool
	// TTL is how long after the start the load ends by itself, also without this program; 0: never.
	TTL time.Duration
}

// SetDefaults sets every field to its default. Call it before the user's settings are read.
func (c *Config) SetDefaults() {
	*c = Config{Project: ".", SourceStack: "us-east-1", DestinationStack: "eu-west-1"}
}

// Validate reports every mistake at once.
func (c *Config) Validate() error {
	var errs []error
	if c.SourceStack == "" || c.DestinationStack == "" || c.SourceStack == c.DestinationStack {
		errs = append(errs, fmt.Errorf("--source-stack %q, --destination-stack %q: name two stacks", c.SourceStack, c.DestinationStack))
	}
	if c.TTL != 0 && c.TTL < time.Minute {
		errs = append(errs, fmt.Errorf("--ttl %s: use 1m or more, or 0 for none", c.TTL))
	}
	return errors.Join(errs...)
}

// Deps are what a Target works with.
type Deps struct {
	Logger *slog.Logger
	// Say tells people what is done, a line at a time; nil: nobody listens.
	Say func(line string)
	// Reach makes what reaches into the clusters; nil: by kubectl.
	Reach func(Where) Reach
	// Command runs Pulumi's CLI; nil: the one on PATH.
	Command auto.PulumiCommand
	// Program is the Pulumi program of a stack; nil: the one that Pulumi.yaml names, by the CLI.
	Program func(stack string) pulumi.RunFunc
	// Env is further environment of the CLI.
	Env map[string]string
}

// Target plays scenarios on two stacks. It implements scenario.Target.
type Target struct {
	cfg  Config
	deps Deps
	pace time.Duration // between two looks
	tell time.Duration // between two lines about what takes long

	source, destination *stackSide
	dir                 string // of what is there while it runs
	reach               Reach
	now                 scenario.Config
	expires             time.Time      // when the load ends by itself; zero: never
	baseline            map[string]int // fault.run that begins nothing, by side
	loaded              bool           // producers may run
	updates             []Update
	versions            map[string]string

	watching context.Context // of lasting faults
	unwatch  context.CancelFunc
	faults   sync.WaitGroup
}

// New makes a target of two stacks, and changes nothing.
func New(cfg Config, deps Deps) (*Target, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Target{cfg: cfg, deps: deps, pace: time.Second, tell: time.Minute}
	return t, t.open()
}

// open reads the stacks' files.
func (t *Target) open() error {
	t.source = &stackSide{side: source, name: t.cfg.SourceStack}
	t.destination = &stackSide{side: destination, name: t.cfg.DestinationStack}
	var errs []error
	for _, s := range t.sides() {
		file, err := openStackFile(t.cfg.Project, s.name, "")
		errs = append(errs, err)
		s.file = file
		if err == nil && file.own["role"].text != s.side {
			errs = append(errs, fmt.Errorf("stack %s: its role is %q, and it was named as the %s: use --source-stack and --destination-stack", s.name, file.own["role"].text, s.side))
		}
	}
	return errors.Join(errs...)
}

func (t *Target) sides() []*stackSide { return []*stackSide{t.source, t.destination} }

func (t *Target) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.deps.Logger.Info(line)
	if t.deps.Say != nil {
		t.deps.Say(line)
	}
}

// Name is how --target calls it.
func (t *Target) Name() string { return "pulumi" }

// Provides says which features there are. That the regions are an ocean apart is so; which of its faults
// can be made, Check says.
func (t *Target) Provides(feature string) error {
	switch feature {
	case scenario.FeatureSlowDisk, scenario.FeatureClock:
		return fmt.Errorf("%w: the stacks have not %s (%s)", scenario.ErrCannotPlay, feature, scenario.Features()[feature])
	}
	return nil
}

// ReplicatorName leaves the name to the configuration.
func (t *Target) ReplicatorName(scenario.Config) string { return "" }

// Versions are those of Pulumi, and of what the auditor knows.
func (t *Target) Versions() map[string]string { return t.versions }

// Updates are those that were made since Start.
func (t *Target) Updates() []Update { return slices.Clone(t.updates) }

// Check says what the stacks cannot play.
func (t *Target) Check(configs []scenario.Config) error { return t.check(configs) }

// tools reports which programs are missing that will be needed when the stacks are there and cost.
func (t *Target) tools() error {
	if t.deps.Reach != nil {
		return nil
	}
	needed := map[string]string{"kubectl": "by which the auditor is reached: https://kubernetes.io/docs/tasks/tools"}
	for _, s := range t.sides() {
		if !s.file.has(kubeconfigKey) {
			needed["aws"] = "which logs kubectl in: the AWS CLI 2, https://docs.aws.amazon.com/cli"
		}
	}
	var errs []error
	for _, program := range slices.Sorted(maps.Keys(needed)) {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("%w: install %s, %s", err, program, needed[program]))
		}
	}
	return errors.Join(errs...)
}

// prepare selects both stacks, with copies of their files.
func (t *Target) prepare(ctx context.Context) (err error) {
	if err := t.tools(); err != nil {
		return err
	}
	if t.dir, err = os.MkdirTemp("", "kafka-mirror-tester-"); err != nil {
		return err
	}
	run := t.deps.Command
	if run == nil {
		if run, err = NewCommand(); err != nil {
			return err
		}
	}
	t.versions = map[string]string{"pulumi": run.Version().String()}
	t.baseline = map[string]int{}
	for _, s := range t.sides() {
		if s.file, err = openStackFile(t.cfg.Project, s.name, filepath.Join(t.dir, "Pulumi."+s.name+".yaml")); err != nil {
			return err
		}
		options := []auto.LocalWorkspaceOption{auto.WorkDir(t.cfg.Project), auto.Pulumi(run), auto.EnvVars(t.deps.Env)}
		if t.deps.Program != nil {
			options = append(options, auto.Program(t.deps.Program(s.name)))
		}
		stack, err := auto.SelectStackLocalSource(ctx, s.name, t.cfg.Project, options...)
		switch {
		case auto.IsSelectStack404Error(errors.Unwrap(err)), auto.IsSelectStack404Error(err):
			return fmt.Errorf("there is no stack %s: make it by pulumi stack init %s, and see the README for what else it needs", s.name, s.name)
		case err != nil:
			return fmt.Errorf("stack %s: %w", s.name, err)
		}
		s.stack = &stack
		outputs, err := stack.Outputs(ctx)
		if err != nil {
			return fmt.Errorf("stack %s: %w", s.name, err)
		}
		if run, ok := outputs["faultBaseline"].Value.(float64); ok {
			t.baseline[s.side] = int(run)
		}
		if s.kubeconfig, err = t.keepKubeconfig(ctx, s); err != nil {
			return fmt.Errorf("stack %s: %w", s.name, err)
		}
	}
	return nil
}

// keepKubeconfig writes the kubeconfig of a cluster that exists to a file of ours and returns its path; empty where
// the stack makes a cluster. kubectl's own may be of another one.
func (t *Target) keepKubeconfig(ctx context.Context, s *stackSide) (string, error) {
	if !s.file.has(kubeconfigKey) {
		return "", nil
	}
	v, err := s.stack.GetConfig(ctx, s.file.project+":"+kubeconfigKey)
	if err != nil || v.Value == "" {
		return "", err
	}
	path := filepath.Join(t.dir, "kubeconfig-"+s.side)
	return path, os.WriteFile(path, []byte(v.Value), 0o600)
}

// valuesOf are what a side's configuration has to say.
func (t *Target) valuesOf(s *stackSide, c scenario.Config) (values, error) {
	if f := &clusterOf(&c, s.side).Fault; f.Kind != "" {
		f.Run += t.baseline[s.side] // that one begins nothing
	}
	if !t.loaded {
		c.Source.Producers = 0
	}
	v, err := valuesOf(s.side, c, s.file.own)
	if err == nil && !t.expires.IsZero() && s.side == source {
		v[expiresKey] = value{text: t.expires.Format(time.RFC3339)}
	}
	return v, err
}

// converge updates a side to what c says.
func (t *Target) converge(ctx context.Context, s *stackSide, c scenario.Config) error {
	v, err := t.valuesOf(s, c)
	if err != nil {
		return err
	}
	outputs, err := t.up(ctx, s, v)
	if err != nil {
		return err
	}
	if t.reach == nil && s.side == destination {
		w := whereOf(t.source, t.destination, t.dir, outputs)
		if t.deps.Reach != nil {
			t.reach = t.deps.Reach(w)
		} else {
			t.reach = newKubectl(w)
		}
	}
	return nil
}

// Start makes the source, the destination, and when both are there, the load: else records would grow too
// old to be copied while the destination is made.
func (t *Target) Start(ctx context.Context, baseline scenario.Config) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	t.updates, t.loaded, t.now, t.expires = nil, false, baseline, time.Time{}
	t.watching, t.unwatch = context.WithCancel(context.WithoutCancel(ctx))
	if t.cfg.TTL > 0 {
		t.expires = time.Now().Add(t.cfg.TTL).UTC().Truncate(time.Second)
		t.say("the load ends by itself at %s; what is made costs until it is destroyed", t.expires.Format(time.RFC3339))
	}
	if own := t.source.file.own[expiresKey].text; t.cfg.TTL == 0 && own != "" {
		t.expires, _ = time.Parse(time.RFC3339, own) // what is no time the program refuses
	}
	for _, s := range t.sides() {
		if err := t.converge(ctx, s, baseline); err != nil {
			return err
		}
	}
	t.sayCost()
	if err := t.over("the load could begin"); err != nil {
		return err
	}
	if baseline.Source.Producers > 0 {
		t.loaded = true
		for _, s := range t.sides() { // the auditor is told how many there are
			if err := t.converge(ctx, s, baseline); err != nil {
				return err
			}
		}
	}
	return t.wait(ctx, "a record has crossed", func() error {
		doc, err := t.Status(ctx)
		switch {
		case err != nil:
			return err
		case doc.Verdict.Test != baseline.TestID:
			return fmt.Errorf("the auditor is still at the test %s", doc.Verdict.Test)
		case doc.Verdict.Total.Received == 0 && baseline.Source.Producers > 0:
			return errors.New("none has")
		}
		return nil
	})
}

// sayCost says what both stacks cost, by the program's own estimate.
func (t *Target) sayCost() {
	sum := 0.0
	for _, s := range t.sides() {
		usd, _ := s.outputs["hourlyUSD"].Value.(float64)
		sum += usd
	}
	if sum > 0 {
		t.say("both stacks cost about %.2f USD an hour, by estimate", sum)
	}
}

// over reports that the load has ended by itself before something: what is measured from then on is measured
// without load, and must not come to hold.
func (t *Target) over(before string) error {
	if t.expires.IsZero() || time.Now().Before(t.expires) {
		return nil
	}
	later := fmt.Sprintf("give a --ttl longer than %s", t.cfg.TTL)
	if t.cfg.TTL == 0 {
		later = fmt.Sprintf("set %s of the stack %s to a later time, or take it out", expiresKey, t.source.name)
	}
	return fmt.Errorf("the load ended by itself at %s, before %s: %s", t.expires.Format(time.RFC3339), before, later)
}

// wait waits until look finds nothing amiss, and says now and then what it is.
func (t *Target) wait(ctx context.Context, what string, look func() error) error {
	told := time.Now()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Since(told) >= t.tell {
			told = time.Now()
			t.say("waiting until %s: %v", what, err)
		}
		timer := time.NewTimer(t.pace)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting until %s: %w (%w)", what, err, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// Converge updates the side that changed, the source before the destination unless partitions are grown
// at the destination first, and the destination also where it reads from the source what changed there:
// how many producers the test has, and with partitionGrowth cure how many partitions.
func (t *Target) Converge(ctx context.Context, next scenario.Config) error {
	if t.reach == nil {
		return errors.New("converge: nothing has been started")
	}
	if err := t.over("this step"); err != nil {
		return err
	}
	before := t.now
	t.now = next
	sides := t.sides()
	if next.Destination.PartitionGrowth == scenario.GrowthDestinationFirst {
		slices.Reverse(sides)
	}
	follows := before.Source.Producers != next.Source.Producers ||
		before.Source.Partitions != next.Source.Partitions && next.Destination.PartitionGrowth == scenario.GrowthCure
	for _, s := range sides {
		v, err := t.valuesOf(s, next)
		if err != nil {
			return err
		}
		if !s.file.differs(v) && (s.side == source || !follows) {
			continue
		}
		began := time.Now()
		if err := t.converge(ctx, s, next); err != nil {
			return err
		}
		was, is := clusterOf(&before, s.side).Fault, clusterOf(&next, s.side).Fault
		if is.Kind != "" && fmt.Sprint(was) != fmt.Sprint(is) {
			if err := t.tellFault(ctx, s, is, began); err != nil {
				return err
			}
		}
	}
	return nil
}

// tellFault tells the auditor when a fault began, and later when it ended.
func (t *Target) tellFault(ctx context.Context, s *stackSide, f scenario.Fault, updated time.Time) error {
	object := fmt.Sprintf("%s-%d", f.Kind, f.Run+t.baseline[s.side])
	detail := strings.TrimPrefix(fmt.Sprintf("%s %v", scenario.FaultKinds()[f.Kind].Target, f.Victims), scenario.TargetRegion+" []")
	begun, err := t.reach.Fault(ctx, s.side, object, false)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		begun = updated
		detail += fmt.Sprintf("; the time is when its update began, since its own status cannot be read: %v", err)
	}
	if err := t.Mark(ctx, verdict.Event{Time: begun.UnixMicro(), Kind: f.Kind, Side: s.side, Detail: detail}); err != nil {
		return fmt.Errorf("tell the auditor of %s: %w", f.Kind, err)
	}
	if !scenario.FaultKinds()[f.Kind].Lasting {
		return nil
	}
	t.faults.Go(func() { t.tellEnd(s, f, object, begun) })
	return nil
}

// tellEnd waits until a lasting fault is over.
func (t *Target) tellEnd(s *stackSide, f scenario.Fault, object string, begun time.Time) {
	ends := begun.Add(time.Duration(f.Duration))
	timer := time.NewTimer(time.Until(ends))
	defer timer.Stop()
	select {
	case <-t.watching.Done():
		return
	case <-timer.C:
	}
	ended, err := t.reach.Fault(t.watching, s.side, object, true)
	detail := ""
	if err != nil {
		if t.watching.Err() != nil {
			return
		}
		ended, detail = ends, fmt.Sprintf("the time is its beginning and its duration, since its own status cannot be read: %v", err)
	}
	if err := t.Mark(t.watching, verdict.Event{Time: ended.UnixMicro(), Kind: f.Kind + scenario.EndSuffix, Side: s.side, Detail: detail}); err != nil {
		t.deps.Logger.Warn("the auditor was not told of the end of a fault", "fault", f.Kind, "error", err)
	}
}

// Mark tells the auditor of something.
func (t *Target) Mark(ctx context.Context, event verdict.Event) error {
	if t.reach == nil {
		return errors.New("nothing has been started")
	}
	return post(ctx, t.reach, "/events", event)
}

// Status returns the verdict so far.
func (t *Target) Status(ctx context.Context) (*verdict.Document, error) {
	if t.reach == nil {
		return nil, errors.New("nothing has been started")
	}
	doc, err := get(ctx, t.reach)
	if err == nil {
		t.versions["loadgen"] = doc.Versions["loadgen"]
	}
	return doc, err
}

// unload ends the load: producers close their ledgers and are gone when it returns.
func (t *Target) unload(ctx context.Context) error {
	t.loaded = false
	err := t.converge(ctx, t.source, t.now)
	t.loaded = err != nil
	return err
}

// Drain ends the load and returns the final verdict.
func (t *Target) Drain(ctx context.Context) (*verdict.Document, error) {
	if t.reach == nil {
		return nil, errors.New("nothing has been started")
	}
	early := t.over("the scenario's end")
	told := make(chan struct{})
	go func() {
		defer close(told)
		t.faults.Wait()
	}()
	select {
	case <-told:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the end of a fault: %w", context.Cause(ctx))
	}
	if err := t.unload(ctx); err != nil {
		return nil, err
	}
	if err := post(ctx, t.reach, "/drain", nil); err != nil {
		return nil, err
	}
	var doc *verdict.Document
	err := t.wait(ctx, "there is a final verdict", func() (err error) {
		doc, err = t.reach.Final(ctx)
		if err == nil && doc.Verdict.Test != t.now.TestID {
			err = fmt.Errorf("the verdict is of the test %s", doc.Verdict.Test)
		}
		return err
	})
	if err == nil && early != nil {
		if doc.Verdict.Outcome == verdict.Holds {
			doc.Verdict.Outcome = verdict.CannotSay
		}
		doc.Verdict.Reasons = append(doc.Verdict.Reasons, early.Error())
	}
	return doc, err
}

// Stop destroys both stacks, the destination first, or without Destroy leaves them without load.
func (t *Target) Stop(ctx context.Context) error {
	if t.unwatch != nil {
		t.unwatch()
		t.faults.Wait()
	}
	var errs []error
	switch {
	case t.cfg.Destroy:
		for _, s := range []*stackSide{t.destination, t.source} {
			if s.made && len(errs) == 0 { // the destination owns what joins the regions, and goes before
				errs = append(errs, t.destroy(ctx, s))
				errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
			}
		}
	case t.source.made:
		if t.loaded {
			errs = append(errs, t.unload(ctx))
		}
		t.say("the stacks %s and %s stay, without load, and cost until make destroy", t.source.name, t.destination.name)
		t.source.made, t.destination.made = false, false
	}
	if t.reach != nil {
		t.reach.Close()
		t.reach = nil
	}
	for _, s := range t.sides() { // a secret stays in no file, whatever else does
		if s.kubeconfig != "" {
			if err := os.Remove(s.kubeconfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			s.kubeconfig = ""
		}
	}
	if t.dir != "" && errors.Join(errs...) == nil {
		errs = append(errs, os.RemoveAll(t.dir))
		t.dir = ""
	}
	return errors.Join(errs...)
}
