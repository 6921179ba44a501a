package mirror

import "time"

// Delay holds records back for a while, and those behind them too, so that the
// order stays.
const Delay = "delay"

type delay struct {
	at      Site
	trigger *Trigger
	hold    time.Duration
	queue
}

func delayDefaults(c *FaultConfig) { c.Probability = 1 }

func newDelay(c FaultConfig, at Site, t *Trigger) Fault {
	return &delay{at: at, trigger: t, hold: c.Hold}
}

func (f *delay) Pass(now time.Duration, in []Record) []Record {
	for _, r := range in {
		until := now
		if f.trigger.Hits(now, r) {
			until += f.hold
			f.at.note(Delay, r)
		}
		f.push(r, until)
	}
	return f.pop(now)
}

// queue holds records back in their order.
type queue struct{ waiting []held }

type held struct {
	Record
	until time.Duration
}

func (q *queue) push(r Record, until time.Duration) { q.waiting = append(q.waiting, held{r, until}) }

// pop takes out those that may leave. One that may not keeps those behind it.
func (q *queue) pop(now time.Duration) []Record {
	var out []Record
	for len(q.waiting) > 0 && now >= q.waiting[0].until {
		out = append(out, q.waiting[0].Record)
		q.waiting = q.waiting[1:]
	}
	return out
}

// Lowest is the oldest record's offset, unless one before it was sent back.
func (q *queue) Lowest() (int64, bool) {
	if len(q.waiting) == 0 {
		return 0, false
	}
	lowest := q.waiting[0].Offset
	for _, w := range q.waiting {
		lowest = min(lowest, w.Offset)
	}
	return lowest, true
}
