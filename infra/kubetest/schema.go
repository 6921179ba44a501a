package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Schemas judge objects by Kubernetes' published OpenAPI, and those of custom kinds by their definitions:
// the shape alone, in no time, and without a control plane. A field that a schema does not have is refused,
// as an API server refuses it under strict validation.
type Schemas struct {
	dir      string // of the published files
	compiler *jsonschema.Compiler
	added    map[string]bool   // files that the compiler has
	kinds    map[string]string // "apiVersion kind" to the schema's address
}

// OpenSchemas fetches the schemas, which come with Kubernetes' source, and adds definitions.
func OpenSchemas(ctx context.Context, definitions [][]byte) (*Schemas, error) {
	dir, err := source(ctx, "k8s.io/kubernetes", KubernetesVersion)
	if err != nil {
		return nil, err
	}
	s := &Schemas{
		dir: filepath.Join(dir, "api", "openapi-spec", "v3"), compiler: jsonschema.NewCompiler(),
		added: map[string]bool{}, kinds: map[string]string{},
	}
	for _, d := range definitions {
		if err := s.define(d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// define adds the kinds of a CustomResourceDefinition.
func (s *Schemas) define(text []byte) error {
	var d struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("definition: %w", err)
	}
	for _, v := range d.Spec.Versions {
		key := d.Spec.Group + "/" + v.Name + " " + d.Spec.Names.Kind
		schema, err := plain(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return fmt.Errorf("definition of %s: %w", key, err)
		}
		// What metadata is, every kind has in common.
		if properties := At[Object](schema, "properties"); properties != nil {
			properties["metadata"] = Object{"type": "object", "additionalProperties": true}
		}
		strict(schema)
		address := "kubetest:///" + strings.ReplaceAll(key, " ", "/")
		if err := s.compiler.AddResource(address, schema); err != nil {
			return fmt.Errorf("definition of %s: %w", key, err)
		}
		s.kinds[key] = address
	}
	return nil
}

// plain returns a value of YAML as JSON has it.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
}

// strict closes every object that names its properties, and allows null where OpenAPI says so.
func strict(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			strict(e)
		}
	case map[string]any:
		_, named := v["properties"].(map[string]any)
		_, open := v["additionalProperties"]
		if named && !open && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
		}
		if kind, ok := v["type"].(string); ok && v["nullable"] == true {
			v["type"] = []any{kind, "null"}
		}
		for key, e := range v {
			if key != "default" && key != "enum" && key != "example" {
				strict(e)
			}
		}
	}
}

// group adds the published schemas of an API group.
func (s *Schemas) group(apiVersion string) error {
	name := "api__" + apiVersion
	if strings.Contains(apiVersion, "/") {
		name = "apis__" + strings.ReplaceAll(apiVersion, "/", "__")
	}
	if s.added[name] {
		return nil
	}
	s.added[name] = true
	text, err := os.ReadFile(filepath.Join(s.dir, name+"_openapi.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the kind is missing then
	} else if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	schemas := At[Object](doc, "components", "schemas")
	strict(schemas)
	address := "kubetest:///" + name
	if err := s.compiler.AddResource(address, Object{"components": Object{"schemas": schemas}}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for schema, v := range schemas {
		for _, k := range At[[]any](v, "x-kubernetes-group-version-kind") {
			version := strings.TrimPrefix(At[string](k, "group")+"/"+At[string](k, "version"), "/")
			if version == apiVersion {
				s.kinds[version+" "+At[string](k, "kind")] = address + "#/components/schemas/" + schema
			}
		}
	}
	return nil
}

// Validate says what is wrong with an object.
func (s *Schemas) Validate(o Object) error {
	id := IDOf(o)
	if err := s.group(id.APIVersion); err != nil {
		return err
	}
	address, known := s.kinds[id.APIVersion+" "+id.Kind]
	if !known {
		return fmt.Errorf("%s: Kubernetes %s has no %s in %s, and no definition does", id, KubernetesVersion, id.Kind, id.APIVersion)
	}
	schema, err := s.compiler.Compile(address)
	if err != nil {
		return fmt.Errorf("schema of %s: %w", id.Kind, err)
	}
	value, err := plain(o)
	if err != nil {
		return err
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return nil
}
