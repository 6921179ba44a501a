// Package settings follows the file that says what a test consists of at the
// moment: which topics, at what rate, with messages of what size. Producers,
// consumers and the auditor read the same file, and read it again when it
// changes, so that nothing is started again for it.
package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// AllTopics stands in a file for every topic of the test.
const AllTopics = "*"

// Every is how often a file is read again.
const Every = time.Second

// Settings is what a file says.
type Settings struct {
	// Topics are those named, AllTopics among them.
	Topics map[string]Change
	// Producers is how many the test is meant to have; nil: not said.
	Producers *int
	// Until is when the load ends by itself; zero: never.
	Until time.Time
}

// Ended says whether the load has ended by itself.
func (s *Settings) Ended() bool { return !s.Until.IsZero() && !time.Now().Before(s.Until) }

// Change is what is said of a topic; what is nil stays as configured.
type Change struct {
	Rate *units.Rate
	Size *units.Size
}

// Names returns the topics that are named, sorted.
func (s *Settings) Names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Topics)), func(name string) bool { return name == AllTopics })
}

// With returns the topics that the file or the flags name, sorted. There must be
// one, and Kafka must not take two of them for the same.
func (s *Settings) With(flags []string) ([]string, error) {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(flags, s.Names()))))
	if len(all) == 0 {
		return nil, errors.New("it names no topic, nor does --topics: name one in either")
	}
	return all, CheckNames(all)
}

// Read reads a file's content, YAML or JSON:
//
//	orders: {rate: 20k/s, size: 1kB}
//	clicks: {}
//	"*": {rate: 100/s, producers: 10, until: 2026-12-24T18:00:00Z}
//
// Anything else in it is an error.
func Read(data []byte) (*Settings, error) {
	type entry struct {
		Rate      *units.Rate `yaml:"rate"`
		Size      *units.Size `yaml:"size"`
		Producers *int        `yaml:"producers"`
		Until     *time.Time  `yaml:"until"`
	}
	entries := map[string]entry{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("settings are not a list of topics with rate and size, such as orders: {rate: 20k/s, size: 1kB}: %w", err)
	}
	s := &Settings{Topics: map[string]Change{}}
	var errs []error
	for name, e := range entries {
		s.Topics[name] = Change{Rate: e.Rate, Size: e.Size}
		switch {
		case name == AllTopics:
			if e.Until != nil {
				s.Until = *e.Until
			}
			if s.Producers = e.Producers; e.Producers != nil && *e.Producers < 0 {
				errs = append(errs, fmt.Errorf("%d producers: use 1 or more, or 0 for any number", *e.Producers))
			}
		case e.Until != nil:
			errs = append(errs, fmt.Errorf("topic %q: the load of all topics ends together: write %q: {until: %s}", name, AllTopics, e.Until.Format(time.RFC3339)))
		case e.Producers != nil:
			errs = append(errs, fmt.Errorf("topic %q: producers are said of all topics together: write %q: {producers: %d}", name, AllTopics, *e.Producers))
		}
	}
	errs = append(errs, CheckNames(s.Names()))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// CheckNames reports those names that cannot be topics of a test. There may be
// none.
func CheckNames(names []string) error {
	if len(names) == 0 {
		return nil
	}
	errs := []error{topics.ValidateNames(names)}
	for _, name := range names {
		if name == ledger.SourceTopic || name == ledger.DestinationTopic {
			errs = append(errs, fmt.Errorf("topic %q is where ledgers are kept: use another", name))
		}
	}
	return errors.Join(errs...)
}

// CheckTopics reports what is wrong with the topics that flags name. Without a
// file that can name others there must be one.
func CheckTopics(names []string, file string) error {
	if len(names) == 0 && file == "" {
		return errors.New("no topics: name at least one, or a settings file that names them")
	}
	return CheckNames(names)
}

// File follows a file with settings.
type File struct {
	Path  string
	last  []byte
	until *Settings // that are in force, and will have ended
}

// Reload reads the file, and if it is not what it was, or its load has just ended, has apply take it over.
// If that fails the file counts as read all the same: it will fail again.
func (f *File) Reload(apply func(*Settings) error) error {
	data, err := os.ReadFile(f.Path)
	if err != nil {
		return fmt.Errorf("settings file: %w", err)
	}
	s := f.until
	if f.last == nil || !bytes.Equal(data, f.last) {
		f.last = append([]byte{}, data...)
		s, err = Read(data)
	} else if s == nil || !s.Ended() {
		return nil
	}
	f.until = nil
	if err == nil && !s.Until.IsZero() && !s.Ended() {
		f.until = s
	}
	if err == nil {
		err = apply(s)
	}
	if err != nil {
		return fmt.Errorf("settings file %s: %w", f.Path, err)
	}
	return nil
}

// Watch reads the file again and again until ctx ends, and logs what is wrong
// with it once. A file is small, and reading it is surer than asking for its
// time: a mounted ConfigMap is a link that changes its aim.
func (f *File) Watch(ctx context.Context, every time.Duration, log *slog.Logger, apply func(*Settings) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := f.Reload(apply)
		switch {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.Error("the test goes on as it was", "error", err)
		}
	}
}
