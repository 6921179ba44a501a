package mirror

import "time"

// Replay goes back some records and sends them once more, as a replicator does
// that lost its position.
const Replay = "replay"

type replay struct {
	at      Site
	trigger *Trigger
	back    int
	past    []Record // the last ones, up to back of them
}

func replayDefaults(c *FaultConfig) { c.Count = 100 }

func newReplay(c FaultConfig, at Site, t *Trigger) Fault {
	return &replay{at: at, trigger: t, back: c.Count}
}

func (f *replay) Pass(now time.Duration, in []Record) []Record {
	out := make([]Record, 0, len(in))
	for _, r := range in {
		out = append(out, r)
		if len(f.past) == f.back {
			f.past = f.past[1:]
		}
		f.past = append(f.past, r)
		if f.trigger.Hits(now, r) {
			for _, again := range f.past {
				out = append(out, again)
				f.at.note(Replay, again)
			}
		}
	}
	return out
}
