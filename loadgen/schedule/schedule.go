// Package schedule says when records are to be sent, whatever the broker does (an open loop).
//
// A Schedule is pure arithmetic: the clock is passed in, nothing sleeps. Its owner asks about once per millisecond what is
// due, and sends that:
//
//	for batch := s.Next(now, 1000); batch.Len() > 0; batch = s.Next(now, 1000) {
//		for i := range batch.Len() {
//			send(batch.At(i)) // the intended time, not the time of sending
//		}
//	}
//
// Overdue ticks are never forgotten: a producer that was held up gets all of them, each with the time it was meant for.
package schedule

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Unlimited is the rate of a producer that sends as fast as it can. Each record is then due at the moment of asking, so
// Next always returns as many as asked for: the owner's buffers set the pace.
var Unlimited = math.Inf(1)

const (
	// MaxRate is the largest rate in records per second, apart from Unlimited.
	MaxRate = 1e9
	// MinRate is the smallest rate in records per second, apart from 0, which pauses.
	MinRate = 1e-9
)

// A tick is divided into this many units, and a rate is the number of units that one nanosecond adds. A rate of one
// record per second adds 1e9 units a nanosecond: rates are exact to a billionth of a record per second, and all sums are
// of integers, so nothing drifts.
const (
	unitsPerTick = 1_000_000_000_000_000_000
	unitsPerRate = 1_000_000_000
)

// Schedule is a sequence of ticks. Up to a time t, the whole part of the integral of the rate over time has become due:
// for a constant rate, floor(rate * elapsed), so the first tick comes one interval after the start. It is not safe for
// concurrent use.
type Schedule struct {
	// Stretches of constant rate with ticks not yet taken, the oldest first; the last is the current one.
	segments []segment
	latest   time.Time // no call sees an earlier time than the one before
	taken    uint64
	rate     float64
}

type segment struct {
	start     time.Time
	credit    uint64 // units already gathered at the start, below unitsPerTick
	rate      uint64 // units per nanosecond
	unlimited bool
	taken     uint64 // ticks
	total     uint64 // ticks; only known once the segment has ended
}

// New returns a schedule that starts at the given time. The rate is in records per second: 0 (paused), MinRate to MaxRate
// or Unlimited.
func New(start time.Time, rate float64) (*Schedule, error) {
	s := &Schedule{latest: start}
	if err := s.SetRate(start, rate); err != nil {
		return nil, err
	}
	return s, nil
}

// CheckRate says whether a rate in records per second can be scheduled.
func CheckRate(rate float64) error {
	if rate == 0 || rate >= MinRate && rate <= MaxRate || rate == Unlimited {
		return nil
	}
	return fmt.Errorf("rate %v records/s is out of range: use %v to %v, 0 to pause, or unlimited", rate, MinRate, MaxRate)
}

// Rate returns the current rate in records per second.
func (s *Schedule) Rate() float64 { return s.rate }

// SetRate changes the rate from now on; 0 pauses. Ticks already due keep their times, and the part of an interval that
// has passed counts towards the next tick: no tick is lost or comes early because of the change. After an error the
// rate is as before.
func (s *Schedule) SetRate(now time.Time, rate float64) error {
	if err := CheckRate(rate); err != nil {
		return err
	}
	now = s.clamp(now)
	next := segment{start: now}
	if n := len(s.segments); n > 0 {
		current := &s.segments[n-1]
		current.total, next.credit = current.due(now)
		if current.unlimited {
			current.total = current.taken
		}
		if current.taken == current.total {
			s.segments = s.segments[:n-1]
		}
	}
	if rate == Unlimited {
		next.unlimited = true
	} else {
		next.rate = uint64(math.Round(rate * unitsPerRate))
	}
	s.rate = rate
	s.segments = append(s.segments, next)
	return nil
}

// Next takes at most limit ticks that are due at now, the oldest first. Ticks of different rates come in different batches,
// so all that is due has been taken only when a batch is empty (with Unlimited that never happens).
func (s *Schedule) Next(now time.Time, limit int) Batch {
	now = s.clamp(now)
	for {
		seg := &s.segments[0]
		last := len(s.segments) == 1
		left := uint64(max(limit, 0))
		switch {
		case !last:
			left = seg.total - seg.taken
		case !seg.unlimited:
			due, _ := seg.due(now)
			left = due - seg.taken
		}
		if left == 0 && !last {
			s.segments = append(s.segments[:0], s.segments[1:]...)
			continue
		}
		n := min(left, uint64(max(limit, 0)))
		b := Batch{segment: *seg, now: now, elapsed: elapsed(seg.start, now), n: int(n)}
		seg.taken += n
		s.taken += n
		return b
	}
}

// Due returns how many ticks are due at now and not taken. With Unlimited it counts only those left from before.
func (s *Schedule) Due(now time.Time) uint64 {
	now = s.clamp(now)
	var n uint64
	for i := range s.segments {
		seg := &s.segments[i]
		switch {
		case i < len(s.segments)-1:
			n += seg.total - seg.taken
		case !seg.unlimited:
			due, _ := seg.due(now)
			n += due - seg.taken
		}
	}
	return n
}

// Taken returns how many ticks Next has returned in all.
func (s *Schedule) Taken() uint64 { return s.taken }

// Wait returns how long after now the next tick that has not been taken is due; 0 if one is due already. It returns false
// when there is none, because the schedule is paused.
func (s *Schedule) Wait(now time.Time) (time.Duration, bool) {
	now = s.clamp(now)
	current := s.segments[len(s.segments)-1]
	if current.unlimited || s.Due(now) > 0 {
		return 0, true
	}
	if current.rate == 0 {
		return 0, false
	}
	return current.offset(current.taken) - elapsed(current.start, now), true
}

func (s *Schedule) clamp(now time.Time) time.Time {
	if now.Before(s.latest) {
		return s.latest
	}
	s.latest = now
	return now
}

func elapsed(start, now time.Time) time.Duration { return max(now.Sub(start), 0) }

// due returns how many ticks of the segment are due at now, taken or not, and the units gathered towards the next one.
func (g *segment) due(now time.Time) (ticks, credit uint64) {
	hi, lo := bits.Mul64(uint64(elapsed(g.start, now)), g.rate)
	lo, carry := bits.Add64(lo, g.credit, 0)
	// The high part is below 2^63 ns * 1e18 units / 2^64, so the quotient always fits.
	return bits.Div64(hi+carry, lo, unitsPerTick)
}

// offset returns how long after the segment's start its i-th tick (from 0) is due: the first nanosecond at which it counts.
func (g *segment) offset(i uint64) time.Duration {
	hi, lo := bits.Mul64(i+1, unitsPerTick)
	lo, borrow := bits.Sub64(lo, g.credit, 0)
	lo, carry := bits.Add64(lo, g.rate-1, 0) // round up
	q, _ := bits.Div64(hi-borrow+carry, lo, g.rate)
	return time.Duration(min(q, math.MaxInt64))
}

// Batch is a number of ticks. It stays valid whatever happens to its schedule.
type Batch struct {
	segment segment
	now     time.Time
	elapsed time.Duration // from the segment's start to now
	n       int
}

// Len returns the number of ticks.
func (b Batch) Len() int { return b.n }

// At returns the intended time of tick i, 0 <= i < Len: never after the now that was given to Next.
//
// It is reckoned backwards from that now, so that where the times carry a monotonic clock reading a step of the wall clock
// neither bunches ticks nor leaves intended times off by the step for the rest of the run.
func (b Batch) At(i int) time.Time {
	if b.segment.unlimited {
		return b.now
	}
	return b.now.Add(b.segment.offset(b.segment.taken+uint64(i)) - b.elapsed)
}
