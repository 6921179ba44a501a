package produce

import (
	"errors"
	"fmt"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// apply sets what a file says, on top of the configuration: all of it, or
// nothing if any of it is wrong.
func (p *Producer) apply(s *settings.Settings) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := s.With(p.cfg.Topics)
	errs := []error{err}
	known := slices.Concat(p.topics, p.coming)
	var fresh []*topic
	for _, name := range s.Names() {
		if !slices.ContainsFunc(known, func(t *topic) bool { return t.name == name }) {
			fresh = append(fresh, p.newTopic(name))
		}
	}
	known = append(known, fresh...)
	wanted := make([]Setting, len(known))
	for i, t := range known {
		wanted[i] = p.settingOf(t.name, s)
		if wanted[i].paused() {
			continue
		}
		if err := p.cfg.checkSetting(wanted[i]); err != nil {
			errs = append(errs, fmt.Errorf("topic %q: %w", t.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.coming = append(p.coming, fresh...)
	for i, t := range known {
		if s := wanted[i]; *t.setting.Load() != s {
			t.setting.Store(&s)
			if p.keeper != nil { // nil: nothing runs yet
				t.changed()
			}
		}
	}
	return nil
}

// settingOf returns what is to be sent to a topic: nothing, if neither flags nor
// file name it, or the load has ended.
func (p *Producer) settingOf(name string, s *settings.Settings) Setting {
	out := Setting{Rate: p.cfg.Throughput, Size: p.cfg.MessageSize}
	if _, named := s.Topics[name]; s.Ended() || !named && !slices.Contains(p.cfg.Topics, name) {
		return Setting{Rate: units.Rate{Kind: units.Records}, Size: out.Size}
	}
	for _, key := range []string{settings.AllTopics, name} {
		change := s.Topics[key]
		if change.Rate != nil {
			out.Rate = *change.Rate
		}
		if change.Size != nil {
			out.Size = *change.Size
		}
	}
	return out
}
