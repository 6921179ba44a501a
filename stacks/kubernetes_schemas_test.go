//go:build kubernetes

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kubetest"
)

// Every object of both stacks has the shape that Kubernetes' schemas and the charts' definitions give to
// its kind, in every variant and after every scenario step: what a server refuses for its shape is found
// without one.
func TestKubernetesObjectsFitTheirSchemas(t *testing.T) {
	schemas, err := kubetest.OpenSchemas(t.Context(), definitions(t))
	if err != nil {
		t.Fatal(err)
	}
	kinds, bad := map[string]int{}, map[string]bool{}
	judge := func(what string, objects []enginetest.Resource) {
		t.Helper()
		for _, r := range objects {
			if !strings.HasPrefix(r.Type, "kubernetes:") || kind(r) == "Release" {
				continue
			}
			kinds[kind(r)]++
			if err := schemas.Validate(r.Inputs); err != nil && !bad[err.Error()] {
				bad[err.Error()] = true
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variants)) {
		for _, s := range newGraph(t, name).sides() {
			judge(name+", "+s.config.Role, s.resources)
		}
	}
	before := newStack(t, source, nil)
	before.Up()
	play := func(title string, s *enginetest.Stack, steps []step) {
		s.Up()
		for _, step := range steps {
			for key, value := range step.values {
				if value == "" {
					s.UnsetConfig(key)
				} else {
					s.SetConfig(key, value)
				}
			}
			var changed []enginetest.Resource
			for _, o := range s.Up().Operations {
				if o.New != nil {
					changed = append(changed, *o.New)
				}
			}
			judge(title+", "+step.what, changed)
		}
	}
	play("us-east-1", newStack(t, source, nil), sourceSteps)
	for _, replicator := range []string{"mirrormaker2", "ureplicator", "brooklin", "none"} {
		s := newStack(t, destination, map[string]string{"replicator": replicator})
		s.Peer("us-east-1", before)
		play("eu-west-1 with "+replicator, s, destinationSteps(replicator))
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%4d x %s", kinds[kind], kind)
	}
	if len(kinds) < 15 {
		t.Errorf("only %d kinds were looked at: %v", len(kinds), kinds)
	}
}

// definitions are those of the kinds that charts bring, of the Prometheus operator whose image the
// catalogue has.
func definitions(t *testing.T) [][]byte {
	t.Helper()
	version := ""
	for _, image := range catalogue.All() {
		if image.Key == "prometheusOperator" {
			_, version, _ = strings.Cut(image.Upstream, ":v")
		}
	}
	all, err := kubetest.Definitions(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Chaos Mesh's chart knows every value that it is given. It is the only chart whose source can be had as a
// Go module; the others' values are checked by nobody.
func TestKubernetesChaosMeshKnowsItsValues(t *testing.T) {
	known, err := kubetest.ChaosMeshValues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, source, nil)
	s.Up()
	values := object(s.Resource("kubernetes:helm.sh/v3:Release", "chaos-mesh").Inputs, "values")
	if len(values) == 0 {
		t.Fatal("the release has no values")
	}
	for _, path := range unknownValues(values, known, "") {
		t.Errorf("the chart has no value %s", path)
	}
	// The check can fail.
	values = cloned(values).(map[string]any)
	object(values, "chaosDaemon")["sockPath"] = "/run"
	if got := unknownValues(values, known, ""); !slices.Equal(got, []string{"chaosDaemon.sockPath"}) {
		t.Errorf("with a value misspelt, those unknown are %q", got)
	}
}

// unknownValues are the paths of values that a chart's defaults do not name. Where a default is empty, or
// no object, anything may be.
func unknownValues(values, defaults map[string]any, path string) (out []string) {
	for key, v := range values {
		def, there := defaults[key]
		if !there {
			out = append(out, path+key)
			continue
		}
		below, _ := def.(map[string]any)
		if given, ok := v.(map[string]any); ok && len(below) > 0 {
			out = append(out, unknownValues(given, below, path+key+".")...)
		}
	}
	slices.Sort(out)
	return out
}

// What the schemas are there to find is found in the stacks' own objects.
func TestKubernetesSchemasFindMistakes(t *testing.T) {
	schemas, err := kubetest.OpenSchemas(t.Context(), definitions(t))
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, source, nil)
	s.Up()
	for _, c := range []struct {
		typ, name, field string
		value            any
		path             []string // to what gets the field
	}{
		{"kubernetes:apps/v1:StatefulSet", "kafka", "replica", 30, []string{"spec"}},
		{"kubernetes:apps/v1:StatefulSet", "kafka", "replicas", "30", []string{"spec"}},
		{"kubernetes:monitoring.coreos.com/v1:PodMonitor", "kafka-mirror-tester", "podMetricEndpoints", []any{}, []string{"spec"}},
		{"kubernetes:policy/v1:PodDisruptionBudget", "kafka", "maxUnavailible", 1, []string{"spec"}},
	} {
		o := s.Resource(c.typ, c.name).Inputs
		if err := schemas.Validate(o); err != nil {
			t.Errorf("%s %s: %v", c.typ, c.name, err)
		}
		o = cloned(o).(map[string]any)
		object(o, c.path...)[c.field] = c.value
		if err := schemas.Validate(o); err == nil {
			t.Errorf("%s %s with %s %v is taken", c.typ, c.name, c.field, c.value)
		}
	}
}
