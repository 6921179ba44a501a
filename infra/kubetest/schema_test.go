//go:build kubernetes

package kubetest

import (
	"strings"
	"testing"
)

const definition = `
spec:
  group: example.com
  names: {kind: Thing}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              none: {type: string, nullable: true}
`

// Schemas find what an API server would refuse for its shape.
func TestSchemas(t *testing.T) {
	s, err := OpenSchemas(t.Context(), [][]byte{[]byte(definition)})
	if err != nil {
		t.Fatal(err)
	}
	set := func(change func(set, container Object)) Object {
		container := Object{"name": "c", "image": "i", "resources": Object{"requests": Object{"cpu": "1", "memory": 1024}}, "ports": []any{Object{"containerPort": 1}}}
		set := Object{
			"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": Object{"name": "x", "labels": Object{"a": "b"}},
			"spec": Object{"serviceName": "x", "replicas": 1, "selector": Object{"matchLabels": Object{"a": "b"}}, "template": Object{"spec": Object{"containers": []any{container}}}},
		}
		change(set, container)
		return set
	}
	thing := func(spec Object) Object {
		return Object{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": Object{"name": "x"}, "spec": spec}
	}
	for name, c := range map[string]struct {
		object Object
		wrong  string // empty: nothing
	}{
		"set":                   {set(func(_, _ Object) {}), ""},
		"unknown field":         {set(func(set, _ Object) { set["spec"].(Object)["replica"] = 1 }), "additional properties 'replica' not allowed"},
		"unknown field below":   {set(func(_, c Object) { c["imagePullPolcy"] = "Always" }), "additional properties 'imagePullPolcy' not allowed"},
		"wrong type":            {set(func(set, _ Object) { set["spec"].(Object)["replicas"] = "1" }), "got string, want integer"},
		"number as environment": {set(func(_, c Object) { c["env"] = []any{Object{"name": "A", "value": 1}} }), "got number, want string"},
		"missing field":         {set(func(_, c Object) { delete(c, "name") }), "missing property 'name'"},
		"unknown kind":          {Object{"apiVersion": "apps/v1", "kind": "StatefullSet"}, "no StatefullSet in apps/v1"},
		"unknown group":         {Object{"apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy"}, "no PodSecurityPolicy in policy/v1beta1"},
		"thing":                 {thing(Object{"size": 1, "free": Object{"any": "thing"}, "none": nil}), ""},
		"thing without a size":  {thing(Object{}), "missing property 'size'"},
		"thing with more":       {thing(Object{"size": 1, "more": 1}), "additional properties 'more' not allowed"},
	} {
		err := s.Validate(c.object)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", name, err, c.wrong)
		}
	}
}
