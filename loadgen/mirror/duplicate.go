package mirror

import "time"

// Duplicate sends records again, right after themselves.
const Duplicate = "duplicate"

type duplicate struct {
	at      Site
	trigger *Trigger
	copies  int
}

func duplicateDefaults(*FaultConfig) {}

func newDuplicate(c FaultConfig, at Site, t *Trigger) Fault { return &duplicate{at, t, c.Count} }

func (f *duplicate) Pass(now time.Duration, in []Record) []Record {
	out := make([]Record, 0, len(in))
	for _, r := range in {
		out = append(out, r)
		if f.trigger.Hits(now, r) {
			for range f.copies {
				out = append(out, r)
				f.at.note(Duplicate, r)
			}
		}
	}
	return out
}
