package enginetest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/providers"
	"github.com/pulumi/pulumi/pkg/v3/resource/stack"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Resource is a resource in the state.
type Resource struct {
	Type, Name string
	URN        string
	// ID is the provider's name for the resource, empty for components.
	ID string
	// Parent is the parent's URN, empty for the stack.
	Parent string
	// Provider is the name of the explicit provider resource, empty for a default provider.
	Provider string
	// Inputs and Outputs are plain Go values: map[string]any, []any, string, bool, nil, int for whole
	// numbers and float64 for others. Secrets are shown in plain.
	Inputs, Outputs map[string]any
	// SecretInputs and SecretOutputs are the paths of the properties that are secret in the state.
	SecretInputs, SecretOutputs []string
	// Dependencies are the URNs of what this resource depends on.
	Dependencies []string
	// Failed says that the last update did not find the resource ready.
	Failed bool
	// Protect says that the engine refuses to delete it.
	Protect bool
}

// Resources returns all resources in the state in the order of their dependencies, providers, components
// and stack references among them.
func (s *Stack) Resources() []Resource {
	states := s.states()
	out := make([]Resource, len(states))
	for i, r := range states {
		out[i] = newResource(r)
	}
	return out
}

// Resource returns the named resource and fails the test if it is absent or one of several.
func (s *Stack) Resource(typ, name string) Resource {
	s.t.Helper()
	var found []*resource.State
	var near []string
	for _, r := range s.states() {
		switch {
		case string(r.Type) == typ && r.URN.Name() == name:
			found = append(found, r)
		case string(r.Type) == typ || r.URN.Name() == name:
			near = append(near, string(r.Type)+" "+r.URN.Name())
		}
	}
	if len(found) != 1 {
		s.t.Fatalf("%d resources %s %s in the state; near: %s", len(found), typ, name, strings.Join(near, ", "))
	}
	return newResource(found[0])
}

// Has says whether the named resource is in the state.
func (s *Stack) Has(typ, name string) bool {
	return slices.ContainsFunc(s.states(), func(r *resource.State) bool {
		return string(r.Type) == typ && r.URN.Name() == name
	})
}

// Get returns the input at path, such as "spec.template.spec.containers[0].image" or
// `metadata.annotations["pulumi.com/skipAwait"]`, nil if there is none.
func (r Resource) Get(path string) any { return get(r.Inputs, path) }

// Output returns the output at path, nil if there is none.
func (r Resource) Output(path string) any { return get(r.Outputs, path) }

func get(value any, path string) any {
	parsed, err := resource.ParsePropertyPath(path)
	if err != nil {
		panic(fmt.Sprintf("property path %q: %v", path, err)) // a mistake in the test
	}
	for _, step := range parsed {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func newResource(r *resource.State) Resource {
	out := Resource{
		Type: string(r.Type), Name: r.URN.Name(), URN: string(r.URN), ID: string(r.ID), Parent: string(r.Parent),
		Failed: len(r.InitErrors) > 0, Protect: r.Protect,
	}
	if ref, err := providers.ParseReference(r.Provider); err == nil && !providers.IsDefaultProvider(ref.URN()) {
		out.Provider = ref.URN().Name()
	}
	out.Inputs = values(r.Inputs, "", &out.SecretInputs)
	out.Outputs = values(r.Outputs, "", &out.SecretOutputs)
	for _, d := range r.Dependencies {
		out.Dependencies = append(out.Dependencies, string(d))
	}
	return out
}

// values turns properties into plain Go values and adds the paths of secrets to *secrets.
func values(m resource.PropertyMap, path string, secrets *[]string) map[string]any {
	out := make(map[string]any, len(m))
	for _, k := range m.StableKeys() {
		out[string(k)] = value(m[k], join(path, string(k)), secrets)
	}
	return out
}

func value(v resource.PropertyValue, path string, secrets *[]string) any {
	switch {
	case v.IsSecret():
		*secrets = append(*secrets, path)
		return value(v.SecretValue().Element, path, new([]string))
	case v.IsOutput():
		if v.OutputValue().Secret {
			*secrets = append(*secrets, path)
			secrets = new([]string)
		}
		return value(v.OutputValue().Element, path, secrets)
	case v.IsObject():
		return values(v.ObjectValue(), path, secrets)
	case v.IsArray():
		out := make([]any, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = value(e, fmt.Sprintf("%s[%d]", path, i), secrets)
		}
		return out
	case v.IsResourceReference():
		return string(v.ResourceReferenceValue().URN)
	case v.IsNumber():
		n := v.NumberValue()
		if n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			return int(n)
		}
		return n
	case v.IsComputed():
		return "{unknown}"
	}
	return v.V // bool, string, nil, assets
}

func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, `.["]`):
		return fmt.Sprintf("%s[%q]", path, key)
	case path == "":
		return key
	}
	return path + "." + key
}

// elide replaces secrets by Secret.
func elide(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret(), v.IsOutput() && v.OutputValue().Secret:
		return resource.NewProperty(Secret)
	case v.IsObject():
		return resource.NewProperty(elideAll(v.ObjectValue()))
	case v.IsArray():
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = elide(e)
		}
		return resource.NewProperty(out)
	}
	return v
}

func elideAll(m resource.PropertyMap) resource.PropertyMap {
	out := make(resource.PropertyMap, len(m))
	for k, v := range m {
		out[k] = elide(v)
	}
	return out
}

// PlainText returns the whole state, outputs included, as text in which every secret value is replaced
// by Secret. What is found in it would be readable by whoever can read the state.
func (s *Stack) PlainText() string {
	s.t.Helper()
	type entry struct {
		URN, ID, Provider string
		Inputs, Outputs   map[string]any
		Errors            []string `json:",omitempty"`
	}
	var entries []entry
	if s.snapshot != nil {
		for _, r := range s.snapshot.Resources { // those that wait to be deleted as well
			entries = append(entries, entry{
				string(r.URN), string(r.ID), r.Provider,
				values(elideAll(r.Inputs), "", new([]string)), values(elideAll(r.Outputs), "", new([]string)),
				r.InitErrors,
			})
		}
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(entries); err != nil {
		s.t.Fatalf("the state as text: %v", err)
	}
	return b.String()
}

func (s *Stack) outputs() map[string]any {
	root, err := stack.GetRootStackResource(s.snapshot)
	if err != nil || root == nil {
		return map[string]any{}
	}
	return values(elideAll(root.Outputs), "", new([]string))
}
