package enginetest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/display"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/engine/lifecycletest/framework"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/util/cancel"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// parallel is how many resources the engine works on at once.
const parallel = 16

type operation func(engine.UpdateInfo, *engine.Context, engine.UpdateOptions, bool) (*deploy.Plan, display.ResourceChanges, error)

// Up previews and updates the stack, as `pulumi up` does, and fails the test on an error.
func (s *Stack) Up() *Result {
	s.t.Helper()
	r, err := s.TryUp()
	if err != nil {
		s.t.Fatalf("pulumi up of %s: %v", s.fullName(), err)
	}
	return r
}

// TryUp is Up for updates that may fail. The result says what was done before the failure. An update
// that does what its preview did not announce is an error too, save for resources whose inputs the
// preview could not know; and so is a Kubernetes object that does not depend on its namespace.
func (s *Stack) TryUp() (*Result, error) {
	var preview ran
	if s.preview {
		preview = s.run(engine.Update, true)
		if preview.err != nil {
			return preview.result(), fmt.Errorf("preview: %w", preview.err)
		}
	}
	update := s.run(engine.Update, false)
	r := update.result()
	r.Outputs = s.outputs()
	r.PreviewDuration = preview.duration
	if update.err != nil {
		return r, update.err
	}
	wrong := s.disordered()
	if s.preview {
		wrong = append(wrong, differences(preview.events, r.Steps)...)
	}
	if len(wrong) > 0 {
		return r, errors.New(strings.Join(wrong, "\n"))
	}
	return r, nil
}

// Preview returns what an update would do, as `pulumi preview` does; nothing is changed. A value that
// is not known before the update may show as a change that the update then does not make.
func (s *Stack) Preview() *Result {
	s.t.Helper()
	p := s.run(engine.Update, true)
	if p.err != nil {
		s.t.Fatalf("pulumi preview of %s: %v", s.fullName(), p.err)
	}
	return p.result()
}

// Refresh reads every resource back, as `pulumi refresh` does; its steps are the differences found.
func (s *Stack) Refresh() *Result {
	s.t.Helper()
	return s.must("refresh", engine.Refresh)
}

// Destroy deletes every resource, as `pulumi destroy` does.
func (s *Stack) Destroy() *Result {
	s.t.Helper()
	return s.must("destroy", engine.Destroy)
}

// TryDestroy is Destroy for deletions that may fail.
func (s *Stack) TryDestroy() (*Result, error) {
	d := s.run(engine.Destroy, false)
	return d.result(), d.err
}

func (s *Stack) must(what string, op operation) *Result {
	s.t.Helper()
	d := s.run(op, false)
	if d.err != nil {
		s.t.Fatalf("pulumi %s of %s: %v", what, s.fullName(), d.err)
	}
	r := d.result()
	r.Outputs = s.outputs()
	return r
}

// ran is what is left of an operation.
type ran struct {
	entries  engine.JournalEntries // of an update
	events   []engine.Event
	said     []string
	duration time.Duration
	err      error
}

func (r ran) result() *Result {
	log, _ := messages(r.events)
	steps := steps(r.entries)
	if r.entries == nil {
		steps = announced(r.events)
	}
	return &Result{Steps: steps, Operations: operations(r.entries), Outputs: map[string]any{}, Log: append(log, r.said...), Duration: r.duration}
}

// run runs one operation of the engine and keeps the state that it left.
func (s *Stack) run(op operation, dryRun bool) ran {
	start := time.Now()
	project := workspace.Project{
		Name:    tokens.PackageName(s.project),
		Runtime: workspace.NewProjectRuntimeInfo("go", nil),
	}
	name, err := tokens.ParseStackName(s.name)
	if err != nil {
		return ran{err: err}
	}
	values, err := s.fullConfig()
	if err != nil {
		return ran{err: err}
	}
	// The engine changes the states in place, in previews too.
	base := s.snapshot
	if base != nil {
		copied := *base
		copied.Resources = slice.Map(base.Resources, (*resource.State).Copy)
		base = &copied
	}
	target := deploy.Target{
		Name: name, Organization: organization, Config: values, Decrypter: config.NopDecrypter, Snapshot: base,
	}

	said := &lines{} // what the program logs reaches the host, not the engine's events
	sink := diag.DefaultSink(said, said, diag.FormatOptions{Color: colors.Never})
	host := &plugins{s: s}
	host.Host = deploytest.NewPluginHost(sink, sink,
		deploytest.NewLanguageRuntime(func(info plugin.RunInfo, _ *deploytest.ResourceMonitor) error {
			return s.runProgram(info, host)
		}))
	defer func() { _ = host.Close() }() // it holds nothing but ports

	cancelling, _ := cancel.NewContext(context.Background())
	events := make(chan engine.Event)
	var seen []engine.Event
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for e := range events {
			seen = append(seen, e)
		}
	}()
	ctx := &engine.Context{
		Cancel: cancelling, Events: events, BackendClient: backend{s}, PluginManager: framework.NopPluginManager{},
	}
	var journal *engine.TestJournal
	if !dryRun {
		journal = engine.NewTestJournal()
		ctx.SnapshotManager = journal
	}
	_, _, err = op(engine.UpdateInfo{Root: "/", Project: &project, Target: &target}, ctx,
		engine.UpdateOptions{Host: host, Parallel: parallel}, dryRun)
	close(events)
	<-drained

	out := ran{events: seen, said: said.all(), duration: time.Since(start)}
	if err != nil { // what the engine told the user belongs to it: the error itself is often only "failed"
		_, failures := messages(seen)
		out.err = readable(err, append(failures, out.said...))
	}
	if journal == nil {
		return out
	}
	if err := journal.Close(); err != nil {
		out.err = errors.Join(out.err, err)
	}
	out.entries = journal.Entries()
	if out.entries == nil {
		out.entries = engine.JournalEntries{}
	}
	snapshot, err := out.entries.Snap(base)
	if err != nil {
		out.err = errors.Join(out.err, fmt.Errorf("the state that the operation left is broken: %w", err))
	}
	s.snapshot = snapshot
	return out
}

// runProgram runs the program once, as the Go language host does.
func (s *Stack) runProgram(info plugin.RunInfo, host plugin.Host) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the program panicked: %v\n%s", p, debug.Stack())
		}
	}()
	values := make(map[string]string, len(info.Config))
	for k, v := range info.Config {
		values[k.String()] = v
	}
	secrets := make([]string, len(info.ConfigSecretKeys))
	for i, k := range info.ConfigSecretKeys {
		secrets[i] = k.String()
	}
	ctx, err := pulumi.NewContext(context.Background(), pulumi.RunInfo{
		Project:           info.Project,
		Stack:             info.Stack,
		Organization:      info.Organization,
		Config:            values,
		ConfigSecretKeys:  secrets,
		ConfigPropertyMap: info.ConfigPropertyMap,
		Parallel:          info.Parallel,
		DryRun:            info.DryRun,
		MonitorAddr:       info.MonitorAddress,
		EngineAddr:        host.ServerAddr(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctx.Close()) }()
	return pulumi.RunWithContext(ctx, s.program)
}

func readable(err error, lines []string) error {
	if len(lines) == 0 {
		return err
	}
	return fmt.Errorf("%w\n  %s", err, strings.Join(lines, "\n  "))
}

// lines collects lines that goroutines write at once.
type lines struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.FieldsFunc(string(l.text), func(r rune) bool { return r == '\n' })
}

// plain removes the engine's colours.
func plain(text string) string { return colors.Never.Colorize(text) }
