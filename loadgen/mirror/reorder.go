package mirror

import "time"

// Reorder lets later records overtake some.
const Reorder = "reorder"

// patience is how long a reordered record waits for others to overtake it.
const patience = time.Second

type reorder struct {
	at      Site
	trigger *Trigger
	by      int
	waiting []overtaken
}

// overtaken is a record that others overtake.
type overtaken struct {
	Record
	by    int
	until time.Duration
}

// Records of several producers share a partition, and one is out of order only
// if another of its own stream overtakes it.
func reorderDefaults(c *FaultConfig) { c.Count = 10 }

func newReorder(c FaultConfig, at Site, t *Trigger) Fault {
	return &reorder{at: at, trigger: t, by: c.Count}
}

func (f *reorder) Pass(now time.Duration, in []Record) []Record {
	out := make([]Record, 0, len(in))
	for _, r := range in {
		if f.trigger.Hits(now, r) {
			f.waiting = append(f.waiting, overtaken{r, 0, now + patience})
			continue
		}
		out = append(out, r)
		for i := range f.waiting {
			f.waiting[i].by++
		}
		out = f.release(now, out)
	}
	return f.release(now, out)
}

// release appends those that have waited enough.
func (f *reorder) release(now time.Duration, out []Record) []Record {
	kept := f.waiting[:0]
	for _, w := range f.waiting {
		if w.by < f.by && now < w.until {
			kept = append(kept, w)
			continue
		}
		if w.by > 0 {
			f.at.note(Reorder, w.Record)
		}
		out = append(out, w.Record)
	}
	f.waiting = kept
	return out
}

func (f *reorder) Lowest() (int64, bool) {
	if len(f.waiting) == 0 {
		return 0, false
	}
	lowest := f.waiting[0].Offset
	for _, w := range f.waiting {
		lowest = min(lowest, w.Offset)
	}
	return lowest, true
}
