package enginetest

import (
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/display"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

// Secret stands for a secret value wherever plain values are shown.
const Secret = "{secret}"

// Result is what an operation did.
type Result struct {
	// Steps are the operations that changed something, in the order in which they ended. Default
	// providers are left out, as the CLI does.
	Steps []Step
	// Operations are what was done in the cloud, in the order in which it ended: a replacement is a
	// creation and a deletion, whichever came first. A preview has none.
	Operations []Operation
	// Outputs are the stack's outputs; a secret is shown as Secret.
	Outputs map[string]any
	// Log holds what the program and the engine said, one line each, such as "warning: ...".
	Log []string
	// Duration is the time that the operation took, without its preview.
	Duration time.Duration
	// PreviewDuration is the time that the preview took.
	PreviewDuration time.Duration
}

// Step is one operation on one resource.
type Step struct {
	// Op is create, update, replace or delete; or delete-replaced, where an earlier update had failed
	// and left behind what it had replaced.
	Op         string
	Type, Name string
	URN        string
	// Diff holds the property paths that differ, sorted, such as "spec.replicas".
	Diff []string
	// Replaces holds those of Diff that cannot be changed in place.
	Replaces []string
	// DeleteFirst says that a replacement deleted the old resource before it made the new one.
	DeleteFirst bool
}

// Operation is one thing that was done to one resource in the cloud.
type Operation struct {
	// Op is create, update or delete.
	Op string
	// Old is the resource as it was before an update or a deletion, New as it is after a creation or an
	// update; nil otherwise.
	Old, New *Resource
}

// String returns "update kubernetes:apps/v1:StatefulSet kafka".
func (o Operation) String() string {
	r := o.New
	if r == nil {
		r = o.Old
	}
	return o.Op + " " + r.Type + " " + r.Name
}

// operations returns what a journal says was done.
func operations(entries engine.JournalEntries) []Operation {
	names := map[display.StepOp]string{
		deploy.OpCreate: "create", deploy.OpCreateReplacement: "create", deploy.OpUpdate: "update",
		deploy.OpDelete: "delete", deploy.OpDeleteReplaced: "delete",
	}
	var out []Operation
	for _, e := range entries {
		name := names[e.Step.Op()]
		if e.Kind != engine.TestJournalEntrySuccess || name == "" || providers.IsDefaultProvider(e.Step.URN()) {
			continue
		}
		o := Operation{Op: name}
		if old := e.Step.Old(); old != nil && name != "create" {
			r := newResource(old)
			o.Old = &r
		}
		if made := e.Step.New(); made != nil && name != "delete" {
			r := newResource(made)
			o.New = &r
		}
		out = append(out, o)
	}
	return out
}

// String returns "update kubernetes:apps/v1:StatefulSet kafka".
func (s Step) String() string { return s.Op + " " + s.Type + " " + s.Name }

// Changes returns the steps as text, sorted: "update kubernetes:apps/v1:StatefulSet kafka".
func (r *Result) Changes() []string {
	changes := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		changes[i] = s.String()
	}
	slices.Sort(changes)
	return changes
}

// Step returns the step of the named resource, and whether there is one.
func (r *Result) Step(typ, name string) (Step, bool) {
	i := r.Index(typ, name)
	if i < 0 {
		return Step{}, false
	}
	return r.Steps[i], true
}

// Index returns the place of the named resource in the order of Steps, -1 if it is not among them.
func (r *Result) Index(typ, name string) int {
	return slices.IndexFunc(r.Steps, func(s Step) bool { return s.Type == typ && s.Name == name })
}

// quiet are the operations that change nothing.
var quiet = map[display.StepOp]bool{
	deploy.OpSame: true, deploy.OpRead: true, deploy.OpReadReplacement: true, deploy.OpRemovePendingReplace: true,
	deploy.OpReadDiscard: true, // a stack reference that is no longer read: nothing is deleted
}

// steps folds a journal into steps: the engine's three operations of a replacement become one, at the
// place where the new resource was made.
func steps(entries engine.JournalEntries) []Step {
	var out []Step
	deleted := map[resource.URN]int{} // place in out of a delete-replaced
	made := map[resource.URN]bool{}
	for _, e := range entries {
		if e.Kind != engine.TestJournalEntrySuccess {
			continue
		}
		op, urn := e.Step.Op(), e.Step.URN()
		if refresh, ok := e.Step.(*deploy.RefreshStep); ok {
			op = refresh.ResultOp()
		}
		if quiet[op] || providers.IsDefaultProvider(urn) {
			continue
		}
		step := Step{Op: string(op), Type: string(urn.Type()), Name: urn.Name(), URN: string(urn)}
		if d, ok := e.Step.(interface {
			DetailedDiff() map[string]plugin.PropertyDiff
		}); ok {
			step.describe(d.DetailedDiff())
		}
		switch op {
		case deploy.OpReplace:
			continue
		case deploy.OpDeleteReplaced:
			if made[urn] {
				continue
			}
			deleted[urn] = len(out)
		case deploy.OpCreateReplacement:
			step.Op, made[urn] = string(deploy.OpReplace), true
			if i, ok := deleted[urn]; ok {
				step.DeleteFirst = true
				out[i].Op = ""
			}
		}
		out = append(out, step)
	}
	return slices.DeleteFunc(out, func(s Step) bool { return s.Op == "" })
}

// announced returns the steps of a preview, in the order of the program.
func announced(events []engine.Event) []Step {
	var out []Step
	for _, e := range events {
		p, ok := e.Payload().(engine.ResourcePreEventPayload)
		if !ok {
			continue
		}
		m := p.Metadata
		if quiet[m.Op] || internal(m.Op) || providers.IsDefaultProvider(m.URN) {
			continue
		}
		step := Step{Op: string(m.Op), Type: string(m.URN.Type()), Name: m.URN.Name(), URN: string(m.URN)}
		step.describe(m.DetailedDiff)
		out = append(out, step)
	}
	return out
}

// internal says whether op is one of the two halves of a replacement.
func internal(op display.StepOp) bool {
	return op == deploy.OpDeleteReplaced || op == deploy.OpCreateReplacement
}

func (s *Step) describe(diff map[string]plugin.PropertyDiff) {
	for path, kind := range diff {
		s.Diff = append(s.Diff, path)
		if kind.Kind.IsReplace() {
			s.Replaces = append(s.Replaces, path)
		}
	}
	slices.Sort(s.Diff)
	slices.Sort(s.Replaces)
}

// planned returns what a preview announced, by resource, and the resources whose inputs are not known
// before the update.
func planned(events []engine.Event) (ops map[resource.URN]string, unknown map[resource.URN]bool) {
	ops, unknown = map[resource.URN]string{}, map[resource.URN]bool{}
	for _, e := range events {
		p, ok := e.Payload().(engine.ResourcePreEventPayload)
		if !ok {
			continue
		}
		m := p.Metadata
		if m.New != nil && m.New.State != nil && m.New.State.Inputs.ContainsUnknowns() {
			unknown[m.URN] = true
		}
		if !quiet[m.Op] && !internal(m.Op) && !providers.IsDefaultProvider(m.URN) {
			ops[m.URN] = string(m.Op)
		}
	}
	return ops, unknown
}

// differences says where the update did not do what its preview announced.
func differences(preview []engine.Event, did []Step) []string {
	ops, unknown := planned(preview)
	var out []string
	for _, s := range did {
		urn := resource.URN(s.URN)
		if said := ops[urn]; said != s.Op && !unknown[urn] && s.Op != string(deploy.OpDeleteReplaced) {
			if said == "" {
				said = "nothing"
			}
			out = append(out, "the preview announced "+said+", the update did: "+s.String())
		}
		delete(ops, urn)
	}
	for urn, op := range ops {
		if !unknown[urn] {
			out = append(out, "the preview announced "+op+" "+string(urn.Type())+" "+urn.Name()+", the update did not do it")
		}
	}
	slices.Sort(out)
	return out
}

// messages returns the lines that the engine said.
func messages(events []engine.Event) (all, failures []string) {
	for _, e := range events {
		d, ok := e.Payload().(engine.DiagEventPayload)
		if !ok || d.Severity == "debug" {
			continue
		}
		text := strings.TrimSpace(plain(d.Prefix + d.Message))
		if text == "" {
			continue
		}
		if d.URN != "" {
			text = string(d.URN.Type()) + " " + d.URN.Name() + ": " + text
		}
		all = append(all, text)
		if d.Severity == "error" {
			failures = append(failures, text)
		}
	}
	return all, failures
}
