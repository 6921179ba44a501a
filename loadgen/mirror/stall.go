package mirror

import (
	"math"
	"time"
)

// Stall stops a partition: from the first record that is hit on, nothing moves.
// It ends For after it began; with For 0 never.
const Stall = "stall"

type stall struct {
	at      Site
	trigger *Trigger
	length  time.Duration
	stalled bool
	until   time.Duration
	queue
}

func stallDefaults(c *FaultConfig) { c.Probability = 1 }

func newStall(c FaultConfig, at Site, t *Trigger) Fault {
	return &stall{at: at, trigger: t, length: c.For}
}

func (f *stall) Pass(now time.Duration, in []Record) []Record {
	for _, r := range in {
		if !f.stalled && f.trigger.Hits(now, r) {
			f.stalled, f.until = true, math.MaxInt64
			if f.length > 0 {
				f.until = now + f.length
			}
		}
		until := now
		if f.stalled && now < f.until {
			until = f.until
			f.at.note(Stall, r)
		}
		f.push(r, until)
	}
	return f.pop(now)
}
