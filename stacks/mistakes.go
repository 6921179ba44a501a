package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

// mistakes collects what is wrong with a stack's configuration, from all who look at it. A value is looked
// at more than once: by the model, and by each component that is made of it. What a later one says of a
// key that an earlier one has refused follows from the same value, and is left out.
type mistakes struct {
	found   []error
	refused map[string]bool // keys, and texts of those that name none
}

// key begins a mistake's text: the configuration key, such as images.kafka.
var key = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([.:][A-Za-z0-9]+)*`)

// add takes what one of them found: nil, or mistakes joined by errors.Join.
func (m *mistakes) add(err error) {
	refused := map[string]bool{}
	for _, e := range leaves(err) {
		k := key.FindString(e.Error())
		if m.refused[k] || m.refused[e.Error()] || refused[e.Error()] {
			continue
		}
		m.found = append(m.found, human.Shown(e, human.Line))
		refused[k], refused[e.Error()] = true, true
	}
	if m.refused == nil {
		m.refused = refused
	}
	for k := range refused {
		m.refused[k] = true
	}
}

// refuses says whether one of the keys has been refused.
func (m *mistakes) refuses(keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return m.refused[k] })
}

// err is nil without mistakes.
func (m *mistakes) err() error {
	if len(m.found) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration of this stack cannot be used:\n%w", errors.Join(m.found...))
}

// leaves takes errors.Join apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}
