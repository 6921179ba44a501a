package target

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// Update is one update of a stack, as it was made.
type Update struct {
	Stack string `json:"stack"`
	// What is up or destroy.
	What string `json:"what"`
	// Set are the keys of its configuration that were changed for it, each as KEY: OLD -> NEW.
	Set []string `json:"set,omitempty"`
	// Operations are what was done to resources, each as OPERATION TYPE NAME; what stayed is left out.
	Operations []string `json:"operations,omitempty"`
	Begun      int64    `json:"begun_unix_us"`
	Ended      int64    `json:"ended_unix_us"`
	Error      string   `json:"error,omitempty"`
}

// Counts sums up its operations, such as "2 create, 1 update".
func (u *Update) Counts() string {
	counts := map[string]int{}
	for _, op := range u.Operations {
		kind, _, _ := strings.Cut(op, " ")
		counts[kind]++
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	if len(out) == 0 {
		return "no change"
	}
	return strings.Join(out, ", ")
}

// stackSide is the stack of one side.
type stackSide struct {
	side, name string
	file       *stackFile
	stack      *auto.Stack
	made       bool           // something may run in it
	outputs    auto.OutputMap // of its last update
	kubeconfig string         // file of the cluster that exists; empty: the stack's own
}

// up sets what differs from next and updates the stack.
func (t *Target) up(ctx context.Context, s *stackSide, next values) (auto.OutputMap, error) {
	changed, err := s.file.set(next)
	if err != nil {
		return nil, err
	}
	u := t.begin(s, "up", changed)
	var outputs auto.OutputMap
	watch := newWatcher()
	s.made = true
	defer t.tellProgress(u, watch)()
	result, err := s.stack.Up(ctx, optup.ConfigFile(s.file.path), optup.SuppressOutputs(), optup.EventStreams(watch.events),
		optup.Message("loadgen scenario run"))
	if err == nil {
		outputs = result.Outputs
		s.outputs = outputs
	}
	return outputs, t.end(ctx, s, u, watch, err)
}

// destroy removes all of a stack.
func (t *Target) destroy(ctx context.Context, s *stackSide) error {
	u := t.begin(s, "destroy", nil)
	watch := newWatcher()
	defer t.tellProgress(u, watch)()
	_, err := s.stack.Destroy(ctx, optdestroy.ConfigFile(s.file.path), optdestroy.EventStreams(watch.events))
	if err == nil {
		s.made = false
	}
	return t.end(ctx, s, u, watch, err)
}

func (t *Target) begin(s *stackSide, what string, changed []string) *Update {
	for _, c := range changed {
		t.say("%s: set %s", s.name, c)
	}
	t.say("pulumi %s --stack %s", what, s.name)
	return &Update{Stack: s.name, What: what, Set: changed, Begun: time.Now().UnixMicro()}
}

// tellProgress says now and then how far an update is, since a cluster takes ten minutes, until the function that
// it returns is called.
func (t *Target) tellProgress(u *Update, watch *watcher) (stop func()) {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(t.tell)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				t.say("pulumi %s --stack %s: after %s %s", u.What, u.Stack, time.Since(time.UnixMicro(u.Begun)).Round(time.Second), watch.progress())
			}
		}
	})
	return func() {
		close(done)
		telling.Wait()
	}
}

// end keeps what an update did, and makes an error of it that names the resources that failed.
func (t *Target) end(ctx context.Context, s *stackSide, u *Update, watch *watcher, err error) error {
	operations, failures := watch.end()
	u.Ended, u.Operations = time.Now().UnixMicro(), operations
	if err != nil {
		err = t.explain(ctx, s, u.What, failures, err)
		u.Error = err.Error()
	}
	t.updates = append(t.updates, *u)
	if err == nil {
		t.say("pulumi %s --stack %s: %s, in %s", u.What, s.name, u.Counts(), (time.Duration(u.Ended-u.Begun) * time.Microsecond).Round(time.Second))
	}
	return err
}

func (t *Target) explain(ctx context.Context, s *stackSide, what string, failures []string, err error) error {
	command := "pulumi " + what + " --stack " + s.name
	t.deps.Logger.Debug(command+" failed", "error", err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s was interrupted: what it had begun has ended, nothing is locked, and the next update goes on: %w", command, context.Cause(ctx))
	case auto.IsConcurrentUpdateError(err):
		return fmt.Errorf("%s: the stack is locked by another update: wait for it, or, where its process is dead, run pulumi cancel --stack %s", command, s.name)
	case len(failures) > 0:
		return fmt.Errorf("%s: %s: put it right and run again: what has been made is kept", command, strings.Join(failures, "; "))
	}
	return fmt.Errorf("%s: %w", command, err)
}

// watcher gathers the engine's events of one update.
type watcher struct {
	events chan events.EngineEvent
	stop   chan struct{}
	done   sync.WaitGroup

	mu                           sync.Mutex
	underWay                     []string // URNs of what is worked at, the oldest first
	operations, failed, messages []string
	said                         map[string]string // error by URN
}

func newWatcher() *watcher {
	w := &watcher{events: make(chan events.EngineEvent), stop: make(chan struct{}), said: map[string]string{}}
	w.done.Go(func() {
		for {
			select {
			case e, open := <-w.events:
				if !open {
					return
				}
				w.take(e)
			case <-w.stop: // the SDK failed before it sent anything, and has not closed the channel
				return
			}
		}
	})
	return w
}

// end returns what was done and what failed.
func (w *watcher) end() (operations, failures []string) {
	close(w.stop)
	w.done.Wait()
	for _, urn := range w.failed {
		message := w.said[urn]
		if message == "" {
			message = "failed"
		}
		failures = append(failures, resourceOf(urn)+": "+message)
	}
	if len(failures) == 0 {
		failures = w.messages
	}
	slices.Sort(w.operations)
	return w.operations, failures
}

// worth says whether an operation changes anything worth telling.
func worth(m apitype.StepEventMetadata) bool {
	return m.Op != apitype.OpSame && m.Op != apitype.OpReplace && m.Type != "pulumi:pulumi:Stack" && m.Op != apitype.OpRead && m.Op != apitype.OpRefresh
}

// progress says what has been done, and what is being done.
func (w *watcher) progress() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("%d done", len(w.operations))
	if n := len(w.underWay); n > 0 {
		var now []string
		for _, urn := range w.underWay[:min(n, 3)] {
			now = append(now, resourceOf(urn))
		}
		text += ", at work on " + strings.Join(now, ", ")
		if n > 3 {
			text += fmt.Sprintf(" and %d more", n-3)
		}
	}
	return text
}

func (w *watcher) over(urn string) {
	w.underWay = slices.DeleteFunc(w.underWay, func(u string) bool { return u == urn })
}

func (w *watcher) take(e events.EngineEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Error != nil:
	case e.ResourcePreEvent != nil && !e.ResourcePreEvent.Planning:
		if m := e.ResourcePreEvent.Metadata; worth(m) {
			w.underWay = append(w.underWay, m.URN)
		}
	case e.ResOutputsEvent != nil && !e.ResOutputsEvent.Planning:
		m := e.ResOutputsEvent.Metadata
		w.over(m.URN)
		if worth(m) {
			w.operations = append(w.operations, string(m.Op)+" "+resourceOf(m.URN))
		}
	case e.ResOpFailedEvent != nil:
		m := e.ResOpFailedEvent.Metadata
		w.over(m.URN)
		if !slices.Contains(w.failed, m.URN) {
			w.failed = append(w.failed, m.URN)
		}
	case e.DiagnosticEvent != nil && e.DiagnosticEvent.Severity == "error":
		d := e.DiagnosticEvent
		text := strings.TrimSpace(uncoloured(d.Message))
		if w.said[d.URN] == "" {
			w.said[d.URN] = text
		}
		if text != "" && !strings.Contains(text, "update failed") {
			w.messages = append(w.messages, text)
		}
	}
}

// uncoloured takes the engine's marks such as <{%reset%}> out of a text.
func uncoloured(text string) string {
	for {
		from := strings.Index(text, "<{%")
		if from < 0 {
			return text
		}
		to := strings.Index(text[from:], "%}>")
		if to < 0 {
			return text
		}
		text = text[:from] + text[from+to+3:]
	}
}

// resourceOf is the type and the name in a URN.
func resourceOf(urn string) string {
	parts := strings.Split(urn, "::")
	if len(parts) < 4 {
		return urn
	}
	typ := parts[2][strings.LastIndex(parts[2], "$")+1:]
	return typ + " " + parts[3]
}
