package enginetest

import (
	"fmt"

	"github.com/pulumi/pulumi/pkg/v3/resource/graph"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// DependsOn says whether a is made after b and deleted before it in every operation, however much the
// engine does at once: whether a chain of the engine's dependencies (explicit ones, inputs, provider,
// parent) leads from a to b. Where b is a component, a comes after all that b holds.
func (s *Stack) DependsOn(a, b Resource) bool {
	s.t.Helper()
	states := s.states()
	byURN := make(map[resource.URN]*resource.State, len(states))
	for _, r := range states {
		byURN[r.URN] = r
	}
	from, to := byURN[resource.URN(a.URN)], byURN[resource.URN(b.URN)]
	if from == nil || to == nil {
		s.t.Fatalf("DependsOn: %s or %s is not in the state any more", a.URN, b.URN)
	}
	for parent := from.Parent; parent != ""; parent = byURN[parent].Parent {
		if parent == to.URN {
			return false // within b, which is not complete without it
		}
	}
	return newOrder(states).after(from)[to]
}

// order answers what comes after what, by the engine's own graph.
type order struct {
	graph *graph.DependencyGraph
	known map[*resource.State]map[*resource.State]bool
}

func newOrder(states []*resource.State) *order {
	return &order{graph: graph.NewDependencyGraph(states), known: map[*resource.State]map[*resource.State]bool{}}
}

// after returns all that r comes after.
func (o *order) after(r *resource.State) map[*resource.State]bool {
	if set, ok := o.known[r]; ok {
		return set
	}
	set := map[*resource.State]bool{}
	o.known[r] = set // dependencies have no cycles
	for d := range o.graph.DependenciesOf(r).Iter() {
		set[d] = true
		for dd := range o.after(d) {
			set[dd] = true
		}
	}
	return set
}

// disordered finds Kubernetes objects that live in a namespace of the stack's without depending on it:
// the cluster may refuse to make them, since the namespace may come later.
func (s *Stack) disordered() []string {
	states := s.states()
	namespaces := map[string]*resource.State{} // by provider and name
	for _, r := range states {
		if r.Type == "kubernetes:core/v1:Namespace" {
			namespaces[r.Provider+" "+text(object(r.Inputs["metadata"])["name"])] = r
		}
	}
	if len(namespaces) == 0 {
		return nil
	}
	order := newOrder(states)
	var out []string
	for _, r := range states {
		in := r.Inputs
		if string(r.Type) != releaseType {
			in = object(in["metadata"])
		}
		name := text(in["namespace"])
		if ns := namespaces[r.Provider+" "+name]; ns != nil && name != "" && !order.after(r)[ns] {
			out = append(out, fmt.Sprintf("%s %s lives in the namespace %s but does not depend on it: it may come first, and the cluster refuses it", r.Type, r.URN.Name(), name))
		}
	}
	return out
}
