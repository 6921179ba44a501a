package scenario

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

// decoder fills structs from YAML by their json tags, the names that configuration has everywhere. It
// goes on after a mistake, so that a file's are all reported at once, each with its line.
type decoder struct {
	errs []error
	// foreign says of a key that is not known here where it would be; empty if nowhere.
	foreign func(key string) string
}

func (d *decoder) refuse(n *yaml.Node, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if n.Line > 0 {
		message = fmt.Sprintf("line %d: %s", n.Line, message)
	}
	d.errs = append(d.errs, fmt.Errorf("%s", message))
}

// value fills v, which is called path in errors, from n.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if later, ok := v.Addr().Interface().(*yamlNode); ok {
		later.Node = n
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if d.scalar(n, path, "a value") {
			if err := text.UnmarshalText([]byte(n.Value)); err != nil {
				d.refuse(n, "%s: %v", path, err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.String:
		if d.scalar(n, path, "text") {
			v.SetString(n.Value)
		}
	case reflect.Int, reflect.Float64, reflect.Bool:
		if !d.scalar(n, path, "a number") {
			return
		}
		if err := n.Decode(v.Addr().Interface()); err != nil {
			d.refuse(n, "%s: %q: want %s", path, n.Value, map[reflect.Kind]string{
				reflect.Int: "a whole number", reflect.Float64: "a number", reflect.Bool: "true or false"}[v.Kind()])
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.refuse(n, "%s: want a list", path)
			return
		}
		out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			d.value(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(out)
	case reflect.Map: // of texts
		out := reflect.MakeMap(v.Type())
		d.pairs(n, path, func(key, value *yaml.Node) {
			text := reflect.New(v.Type().Elem()).Elem()
			d.value(value, text, join(path, key.Value))
			out.SetMapIndex(reflect.ValueOf(key.Value), text)
		})
		v.Set(out)
	case reflect.Pointer:
		inner := reflect.New(v.Type().Elem())
		d.value(n, inner.Elem(), path)
		v.Set(inner)
	default:
		d.refuse(n, "%s cannot be set", path)
	}
}

func (d *decoder) scalar(n *yaml.Node, path, want string) bool {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.refuse(n, "%s: want %s", path, want)
	case n.Tag == "!!null":
		d.refuse(n, "%s is empty: give %s, or leave it out", path, want)
	default:
		return true
	}
	return false
}

// object fills the fields that n names and leaves the others as they are.
func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	all := fields(v)
	d.pairs(n, path, func(key, value *yaml.Node) {
		field, ok := all[key.Value]
		if !ok {
			d.unknown(key, path, all)
			return
		}
		if field.Type() == reflect.TypeFor[Fault]() {
			field.SetZero() // a fault is given whole: what the one before it had is no part of it
		}
		d.value(value, field, join(path, key.Value))
	})
}

func (d *decoder) pairs(n *yaml.Node, path string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		if n.Kind != 0 && n.Tag != "!!null" {
			d.refuse(n, "%s: want keys with values", orFile(path))
		}
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			d.refuse(key, "%s is there twice", join(path, key.Value))
			continue
		}
		seen[key.Value] = true
		each(key, n.Content[i+1])
	}
}

func (d *decoder) unknown(key *yaml.Node, path string, all map[string]reflect.Value) {
	hint := ""
	if d.foreign != nil {
		hint = d.foreign(key.Value)
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := Nearest(key.Value, names); hint == "" && near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	if hint == "" {
		hint = "there are " + strings.Join(names, ", ")
	}
	d.refuse(key, "%s is no key here: %s", join(path, key.Value), hint)
}

// fields returns the fields of a struct by their json names, those of embedded ones among them.
func fields(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for n, inner := range fields(v.Field(i)) {
				out[n] = inner
			}
		case f.IsExported() && name != "" && name != "-":
			out[name] = v.Field(i)
		}
	}
	return out
}

func join(path, key string) string {
	key = human.Line(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// Nearest returns the name that text was most likely meant to be, empty if none is near.
func Nearest(text string, names []string) string {
	best, least := "", max(2, len(text)/3)+1
	for _, name := range names {
		if distance := levenshtein.Distance(strings.ToLower(text), strings.ToLower(name), nil); distance < least {
			best, least = name, distance
		}
	}
	return best
}
