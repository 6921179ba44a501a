package mirror

import (
	"slices"
	"time"
)

// Drop leaves records out.
const Drop = "drop"

type drop struct {
	at      Site
	trigger *Trigger
}

func dropDefaults(*FaultConfig) {}

func newDrop(_ FaultConfig, at Site, t *Trigger) Fault { return &drop{at, t} }

func (f *drop) Pass(now time.Duration, in []Record) []Record {
	return slices.DeleteFunc(in, func(r Record) bool {
		hit := f.trigger.Hits(now, r)
		if hit {
			f.at.note(Drop, r)
		}
		return hit
	})
}
