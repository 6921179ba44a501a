package mirror

import "time"

// Misplace sends records to another partition than their own. It does nothing
// to a topic with one partition.
const Misplace = "misplace"

type misplace struct {
	at      Site
	trigger *Trigger
}

func misplaceDefaults(*FaultConfig) {}

func newMisplace(_ FaultConfig, at Site, t *Trigger) Fault { return &misplace{at, t} }

func (f *misplace) Pass(now time.Duration, in []Record) []Record {
	for i, r := range in {
		n := f.at.Partitions()
		if n < 2 || !f.trigger.Hits(now, r) {
			continue
		}
		in[i].To = (r.To + 1 + int32(f.trigger.Random(r, "where")%uint64(n-1))) % n
		f.at.note(Misplace, r)
	}
	return in
}
