package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// decode reads a stack's configuration, name -> text as Pulumi hands it over, into the fields of the
// structs whose json tag is that name. It reports every mistake at once: names that no field has,
// and values that a field does not take. What no name speaks of stays as it is.
func decode(values map[string]string, into ...any) error {
	fields := fieldsOf(into...)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field, known := fields[name]
		if !known {
			errs = append(errs, unknown(name, slices.Sorted(maps.Keys(fields))))
			continue
		}
		if err := set(field, values[name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// fieldsOf returns the fields of the structs that are pointed to, by the names in their json tags.
func fieldsOf(structs ...any) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for _, s := range structs {
		collect(reflect.ValueOf(s).Elem(), fields)
	}
	return fields
}

// collect finds the fields of a struct and of those embedded in it.
func collect(v reflect.Value, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		switch tag := v.Type().Field(i).Tag.Get("json"); {
		case v.Type().Field(i).Anonymous:
			collect(v.Field(i), fields)
		case tag != "":
			fields[strings.TrimSuffix(tag, ",omitempty")] = v.Field(i)
		}
	}
}

func set(field reflect.Value, text string) error {
	if t, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		field.SetInt(int64(n))
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		field.SetFloat(f)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		field.SetBool(b)
	default:
		return setObject(field, text)
	}
	return nil
}

// setObject reads a list or an object, all of it or nothing.
func setObject(field reflect.Value, text string) error {
	fail := func(err error) error {
		return fmt.Errorf("%s is no %s: %s", text, shape(field.Type()), strings.TrimPrefix(err.Error(), "json: "))
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var raw any
	err := d.Decode(&raw)
	if err == nil && d.More() {
		err = errors.New("there is more after it")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it is incomplete")
	}
	if err != nil {
		return fail(err)
	}
	typed, err := json.Marshal(retype(raw, field.Type()))
	if err != nil {
		return fail(err)
	}
	d = json.NewDecoder(bytes.NewReader(typed))
	d.DisallowUnknownFields()
	value := reflect.New(field.Type())
	if err := d.Decode(value.Interface()); err != nil {
		return fail(err)
	}
	field.Set(value.Elem())
	return nil
}

// retype makes texts of numbers, and numbers of texts, where a t wants them: `pulumi config set --path`
// stores 16 as a number and 0.5 as a text, whatever it is for.
func retype(value any, t reflect.Type) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			switch t.Kind() {
			case reflect.Map:
				v[key] = retype(v[key], t.Elem())
			case reflect.Struct:
				for i := range t.NumField() {
					if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == key {
						v[key] = retype(v[key], t.Field(i).Type)
					}
				}
			}
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i := range v {
				v[i] = retype(v[i], t.Elem())
			}
		}
	case json.Number, bool:
		if t.Kind() == reflect.String {
			return fmt.Sprint(v)
		}
	case string:
		if k := t.Kind(); (k == reflect.Float64 || k == reflect.Int) && !reflect.PointerTo(t).Implements(textUnmarshaler) {
			if _, err := strconv.ParseFloat(v, 64); err == nil {
				return json.Number(v)
			}
		}
	}
	return value
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// shape says what is expected, by an example where the CLI's way of writing it is not obvious.
func shape(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return `list: set its elements by pulumi config set --path 'key[0]' value`
	case reflect.Map:
		return `object of names and texts: set one by pulumi config set --path 'key["name"]' value`
	default:
		var names []string
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		return "object with " + strings.Join(names, ", ")
	}
}

// unknown names what was perhaps meant.
func unknown(name string, known []string) error {
	best, distance := "", len(name)/2+1
	for _, k := range known {
		if d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(k), nil); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Errorf("%s: there is no such key: did you mean %s? Remove it by pulumi config rm %s", name, best, name)
	}
	return fmt.Errorf("%s: there is no such key; Pulumi.yaml lists them all. Remove it by pulumi config rm %s", name, name)
}
