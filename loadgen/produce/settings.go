package produce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// AllTopics stands in a settings file for every topic that it does not name.
const AllTopics = "*"

// Change is what a settings file says of a topic; what is nil stays as
// configured.
type Change struct {
	Rate *units.Rate `yaml:"rate"`
	Size *units.Size `yaml:"size"`
}

// ReadSettings reads a settings file, YAML or JSON:
//
//	orders: {rate: 20k/s, size: 1kB}
//	"*": {rate: 100/s}
//
// Anything else in it is an error.
func ReadSettings(data []byte) (map[string]Change, error) {
	changes := map[string]Change{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&changes); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("settings are not a list of topics with rate and size, such as orders: {rate: 20k/s, size: 1kB}: %w", err)
	}
	return changes, nil
}

// settingsFile follows a file with settings.
type settingsFile struct {
	path  string
	every time.Duration
	last  []byte
	was   string // the last error
}

// reload reads the file and, if it is not what it was, applies all of it, or
// nothing if any of it is wrong.
func (f *settingsFile) reload(p *Producer) (changed bool, err error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return false, fmt.Errorf("settings file: %w", err)
	}
	if f.last != nil && bytes.Equal(data, f.last) {
		return false, nil
	}
	f.last = data
	changes, err := ReadSettings(data)
	if err != nil {
		return false, fmt.Errorf("settings file %s: %w", f.path, err)
	}
	if err := p.apply(changes); err != nil {
		return false, fmt.Errorf("settings file %s: %w", f.path, err)
	}
	return true, nil
}

// watch reads the file again and again. A file is small, and reading it is
// surer than asking for its time: a mounted ConfigMap is a link that changes
// its aim.
func (f *settingsFile) watch(ctx context.Context, p *Producer) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_, err := f.reload(p)
		switch {
		case err == nil:
			f.was = ""
		case err.Error() != f.was:
			f.was = err.Error()
			p.log.Error("the load stays as it is", "error", err)
		}
	}
}

// apply sets what changes say, on top of the configuration.
func (p *Producer) apply(changes map[string]Change) error {
	var errs []error
	wanted := make([]Setting, len(p.topics))
	known := map[string]bool{AllTopics: true}
	for i, t := range p.topics {
		known[t.name] = true
		s := Setting{Rate: p.cfg.Throughput, Size: p.cfg.MessageSize}
		for _, name := range []string{AllTopics, t.name} {
			change := changes[name]
			if change.Rate != nil {
				s.Rate = *change.Rate
			}
			if change.Size != nil {
				s.Size = *change.Size
			}
		}
		if err := p.cfg.checkSetting(s); err != nil {
			errs = append(errs, fmt.Errorf("topic %q: %w", t.name, err))
		}
		wanted[i] = s
	}
	for name := range changes {
		if !known[name] {
			errs = append(errs, fmt.Errorf("topic %q is not one that this producer writes to (%s)", name, strings.Join(p.cfg.Topics, ", ")))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, t := range p.topics {
		if s := wanted[i]; *t.setting.Load() != s {
			t.setting.Store(&s)
			if p.keeper != nil { // nil: nothing runs yet
				t.changed()
			}
		}
	}
	return nil
}
