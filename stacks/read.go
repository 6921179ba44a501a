package main

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Stack is a stack's configuration: the infrastructure, and its side of the test. Of Source and
// Destination the one of the stack's role is read from the configuration; a destination knows the
// source from the other stack's outputs.
type Stack struct {
	Settings
	scenario.Config
}

// Cluster returns the Kafka cluster of the stack's side.
func (s *Stack) Cluster() *scenario.Cluster {
	if s.Role == destination {
		return &s.Destination.Cluster
	}
	return &s.Source.Cluster
}

// readConfig reads a stack's configuration, by names with the project's namespace as Pulumi hands them
// over, and checks it as far as no component does. Names of other namespaces belong to providers. There is
// a stack in spite of mistakes, unless it is not known on which side it is: what cannot be read keeps its
// default.
func readConfig(project string, config map[string]string) (*Stack, *mistakes) {
	m := &mistakes{}
	values := map[string]string{}
	for name, value := range config {
		if key, ok := strings.CutPrefix(name, project+":"); ok {
			values[key] = value
		}
	}
	s := &Stack{}
	s.Settings.SetDefaults()
	s.Config.SetDefaults()
	if role := values["role"]; role != source && role != destination {
		m.add(fmt.Errorf("role: %q: use source or destination", role))
		return nil, m
	}

	var own, other any = &s.Source, &s.Destination
	if values["role"] == destination {
		own, other = other, own
	}
	m.add(foreign(values, other, own))
	m.add(decode(values, &s.Settings, &s.Shared, own))
	if s.Namespace == "" {
		s.Namespace = s.Role
	}
	m.add(s.Settings.validate(s))
	m.add(s.Shared.Validate())
	if s.Role == destination {
		m.add(s.Destination.Validate())
	} else {
		m.add(s.Source.Validate())
	}
	return s, m
}

// foreign takes out of values what only the other role has. Pulumi.yaml gives every stack the
// defaults of both, so only what differs from the default is a mistake.
func foreign(values map[string]string, other, own any) error {
	theirs, ours := fieldsOf(other), fieldsOf(own)
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		field, known := theirs[key]
		if _, both := ours[key]; !known || both {
			continue
		}
		before := text(field)
		if err := set(field, values[key]); err != nil || text(field) != before {
			errs = append(errs, fmt.Errorf("%s: is no key of a stack with role %s: remove it by pulumi config rm %s", key, values["role"], key))
		}
		delete(values, key)
	}
	return errors.Join(errs...)
}

// text tells values apart; an empty list or object is the same as none.
func text(field reflect.Value) string {
	if k := field.Kind(); (k == reflect.Slice || k == reflect.Map) && field.Len() == 0 {
		return ""
	}
	return fmt.Sprint(field.Interface())
}
