package verdict

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// The descriptions in the schema are the comments of the types, so that there
// is one text to keep right.
//
//go:embed document.go
var documentSource string

// JSONSchema returns the schema (JSON Schema 2020-12) of a written Document,
// made from the Go types: a field is required unless it is left out when
// empty. Fields that it does not name are allowed, since new ones do not
// change the version.
func JSONSchema() ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "document.go", documentSource, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("schema of the verdict: %w", err)
	}
	b := &schemaBuilder{pkg: reflect.TypeFor[Document]().PkgPath(), comments: map[string]string{}, enums: map[string][]string{}, defs: map[string]any{}}
	b.read(file)
	root, err := b.of(reflect.TypeFor[Document]())
	if err != nil {
		return nil, fmt.Errorf("schema of the verdict: %w", err)
	}
	b.defs["Document"].(map[string]any)["properties"].(map[string]any)["schema"] = map[string]any{"const": Schema}
	out, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     "https://github.com/AppsFlyer/" + Schema,
		"title":   Schema,
		"$ref":    root["$ref"],
		"$defs":   b.defs,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema of the verdict: %w", err)
	}
	return append(out, '\n'), nil
}

type schemaBuilder struct {
	pkg      string
	comments map[string]string   // of "Type" and "Type.Field"
	enums    map[string][]string // values of the constants of a string type
	defs     map[string]any
}

// read takes comments and enumerations from the source.
func (b *schemaBuilder) read(file *ast.File) {
	note := func(name string, groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
				b.comments[name] = text
				return
			}
		}
	}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				note(spec.Name.Name, spec.Doc, gen.Doc)
				fields, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						note(spec.Name.Name+"."+name.Name, f.Doc, f.Comment)
					}
				}
			case *ast.ValueSpec:
				of, ok := spec.Type.(*ast.Ident)
				if !ok {
					continue
				}
				for _, v := range spec.Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						if value, err := strconv.Unquote(lit.Value); err == nil {
							b.enums[of.Name] = append(b.enums[of.Name], value)
						}
					}
				}
			}
		}
	}
}

// of returns the schema of a type. Structs become definitions.
func (b *schemaBuilder) of(t reflect.Type) (map[string]any, error) {
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}, nil
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}, nil
	case reflect.String:
		s := map[string]any{"type": "string"}
		if values := b.enums[t.Name()]; len(values) > 0 && t.PkgPath() == b.pkg {
			s["enum"] = values
		}
		return s, nil
	case reflect.Pointer:
		return b.of(t.Elem())
	case reflect.Slice:
		items, err := b.of(t.Elem())
		return map[string]any{"type": "array", "items": items}, err
	case reflect.Map:
		values, err := b.of(t.Elem())
		return map[string]any{"type": "object", "additionalProperties": values}, err
	case reflect.Struct:
		return b.structure(t)
	default:
		return nil, fmt.Errorf("type %s has no schema", t)
	}
}

func (b *schemaBuilder) structure(t reflect.Type) (map[string]any, error) {
	ref := map[string]any{"$ref": "#/$defs/" + t.Name()}
	if _, done := b.defs[t.Name()]; done {
		return ref, nil
	}
	properties, required := map[string]any{}, []string{}
	def := map[string]any{"type": "object", "properties": properties}
	b.defs[t.Name()] = def
	if text := b.comments[t.Name()]; text != "" && t.PkgPath() == b.pkg {
		def["description"] = text
	}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s, err := b.of(f.Type)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Name(), f.Name, err)
		}
		if text := b.comments[t.Name()+"."+f.Name]; text != "" && t.PkgPath() == b.pkg {
			s["description"] = text
		}
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
			if k := f.Type.Kind(); k == reflect.Slice || k == reflect.Map {
				s["type"] = []any{s["type"], "null"} // how Go writes an empty one
			}
		}
		properties[name] = s
	}
	if len(required) > 0 {
		def["required"] = required
	}
	return ref, nil
}
