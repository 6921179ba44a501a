package schedule

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newSchedule(t testing.TB, rate float64) *Schedule {
	t.Helper()
	s, err := New(start, rate)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setRate(t *testing.T, s *Schedule, at time.Duration, rate float64) {
	t.Helper()
	if err := s.SetRate(start.Add(at), rate); err != nil {
		t.Fatal(err)
	}
}

// take takes all that is due and returns the intended times since the start.
func take(s *Schedule, at time.Duration) []time.Duration {
	var ticks []time.Duration
	now := start.Add(at)
	for b := s.Next(now, 7); b.Len() > 0; b = s.Next(now, 7) {
		for i := range b.Len() {
			ticks = append(ticks, b.At(i).Sub(start))
		}
	}
	return ticks
}

func seconds(all ...float64) []time.Duration {
	var d []time.Duration
	for _, s := range all {
		d = append(d, time.Duration(s*1e9))
	}
	return d
}

func equal(t *testing.T, got, want []time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("intended times\n got %v\nwant %v", got, want)
	}
}

func TestTicksKeepTheirOwnTimes(t *testing.T) {
	s := newSchedule(t, 4)
	equal(t, take(s, 0), nil)
	equal(t, take(s, 249*time.Millisecond), nil)
	equal(t, take(s, 250*time.Millisecond), seconds(0.25))
	equal(t, take(s, time.Second), seconds(0.5, 0.75, 1))
	equal(t, take(s, time.Second), nil)
}

// A producer that was held up gets every tick with the time it was meant for: no coordinated omission.
func TestOverdueTicksAreNotForgotten(t *testing.T) {
	s := newSchedule(t, 1000)
	take(s, time.Second)
	if due := s.Due(start.Add(time.Minute)); due != 59_000 {
		t.Fatalf("due after a stall: %d, want 59000", due)
	}
	if wait, ok := s.Wait(start.Add(time.Minute)); wait != 0 || !ok {
		t.Fatalf("Wait with overdue ticks: %v %v", wait, ok)
	}
	ticks := take(s, time.Minute)
	if len(ticks) != 59_000 {
		t.Fatalf("got %d ticks, want 59000", len(ticks))
	}
	for i, tick := range ticks {
		if want := time.Second + time.Duration(i+1)*time.Millisecond; tick != want {
			t.Fatalf("tick %d is at %v, want %v", i, tick, want)
		}
	}
}

func TestLimit(t *testing.T) {
	s := newSchedule(t, 1000)
	now := start.Add(time.Second)
	for _, limit := range []int{0, -1, math.MinInt} {
		if b := s.Next(now, limit); b.Len() != 0 {
			t.Fatalf("limit %d gave %d ticks", limit, b.Len())
		}
	}
	if b := s.Next(now, 600); b.Len() != 600 || s.Taken() != 600 || s.Due(now) != 400 {
		t.Fatalf("first: %d ticks, taken %d, due %d", b.Len(), s.Taken(), s.Due(now))
	}
	if b := s.Next(now, 600); b.Len() != 400 || s.Taken() != 1000 {
		t.Fatalf("second: %d ticks, taken %d", b.Len(), s.Taken())
	}
}

// The count is exact at any moment over years, for rates that no float can add up without drift.
func TestNoDrift(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, rate := range []float64{MinRate, 1.0 / 3600, 0.1, 0.3, 1, 1.0 / 3 * 10, 7, 20_000, 97656.25, 100e6 / 999, 5_000_000.7, MaxRate} {
		s := newSchedule(t, rate)
		for _, at := range []time.Duration{1, time.Microsecond, time.Second, time.Hour + 1, 24 * time.Hour, 30*24*time.Hour + 12345, year, 100 * year} {
			// The rate that counts is the given one rounded to a billionth.
			want := big.NewInt(int64(math.Round(rate * 1e9)))
			want.Mul(want, big.NewInt(int64(at)))
			want.Div(want, big.NewInt(unitsPerTick))
			if due := s.Due(start.Add(at)); due != want.Uint64() {
				t.Errorf("rate %v after %v: %d due, want %v", rate, at, due, want)
			}
		}
	}
}

// The time of a tick is the first nanosecond at which it is due, and the wait leads exactly there.
func TestWaitLeadsToTheTick(t *testing.T) {
	for _, rate := range []float64{MinRate, 1.0 / 3600, 0.3, 3, 20_000, 97656.25, 5_000_000.7, 999_999_999, MaxRate} {
		s := newSchedule(t, rate)
		var now time.Duration
		for i := range 100 {
			wait, ok := s.Wait(start.Add(now))
			if !ok || wait <= 0 {
				t.Fatalf("rate %v, tick %d: Wait = %v %v", rate, i, wait, ok)
			}
			if now >= math.MaxInt64-wait {
				break // beyond what a duration can hold
			}
			if due := s.Due(start.Add(now + wait - 1)); due != 0 {
				t.Fatalf("rate %v, tick %d: due a nanosecond before the wait is over", rate, i)
			}
			now += wait
			equal(t, take(s, now), []time.Duration{now})
		}
	}
}

func TestVerySlowRateForAllTime(t *testing.T) {
	s := newSchedule(t, MinRate)
	end := start.Add(math.MaxInt64)
	if n := s.Next(end, 100).Len(); n != 9 { // 292 years at one in 31.7 years
		t.Fatalf("%d ticks in 292 years", n)
	}
	if _, ok := s.Wait(end.Add(time.Hour)); !ok {
		t.Fatal("no next tick")
	}
}

func TestSetRateKeepsOverdueTicksAndPartOfInterval(t *testing.T) {
	s := newSchedule(t, 1)
	setRate(t, s, 2500*time.Millisecond, 10) // half an interval has passed, so the next tick comes after 50 ms
	equal(t, take(s, 2700*time.Millisecond), seconds(1, 2, 2.55, 2.65))
	setRate(t, s, 2700*time.Millisecond, 0.5) // again half an interval
	if wait, ok := s.Wait(start.Add(2700 * time.Millisecond)); wait != time.Second || !ok {
		t.Fatalf("Wait = %v %v", wait, ok)
	}
	equal(t, take(s, 6*time.Second), seconds(3.7, 5.7))
}

func TestPauseAndResume(t *testing.T) {
	s := newSchedule(t, 2)
	setRate(t, s, 1250*time.Millisecond, 0)
	if s.Rate() != 0 {
		t.Fatalf("Rate = %v", s.Rate())
	}
	// What was due before the pause is still handed out in it.
	if wait, ok := s.Wait(start.Add(time.Hour)); wait != 0 || !ok {
		t.Fatalf("Wait = %v %v", wait, ok)
	}
	equal(t, take(s, time.Hour), seconds(0.5, 1))
	if _, ok := s.Wait(start.Add(time.Hour)); ok {
		t.Fatal("a paused schedule has a next tick")
	}
	setRate(t, s, time.Hour, 2)
	// The pause adds nothing, and the half interval before it counts.
	equal(t, take(s, time.Hour+time.Second), seconds(3600.25, 3600.75))
}

func TestStartPaused(t *testing.T) {
	s := newSchedule(t, 0)
	equal(t, take(s, time.Hour), nil)
	setRate(t, s, time.Hour, 1)
	equal(t, take(s, time.Hour+2*time.Second), seconds(3601, 3602))
}

func TestUnlimited(t *testing.T) {
	s := newSchedule(t, 1)
	setRate(t, s, 2250*time.Millisecond, Unlimited)
	now := start.Add(3 * time.Second)
	if due := s.Due(now); due != 2 {
		t.Fatalf("left from before: %d, want 2", due)
	}
	if b := s.Next(now, 100); b.Len() != 2 || !b.At(1).Equal(start.Add(2*time.Second)) {
		t.Fatalf("ticks from before the change: %d, the last at %v", b.Len(), b.At(1))
	}
	for range 3 {
		b := s.Next(now, 100)
		if b.Len() != 100 || !b.At(0).Equal(now) || !b.At(99).Equal(now) {
			t.Fatalf("got %d ticks from %v to %v, want 100 at %v", b.Len(), b.At(0), b.At(99), now)
		}
	}
	if wait, ok := s.Wait(now); wait != 0 || !ok {
		t.Fatalf("Wait = %v %v", wait, ok)
	}
	setRate(t, s, 10*time.Second, 1) // the quarter of an interval from before counts
	equal(t, take(s, 12*time.Second), seconds(10.75, 11.75))
	if s.Taken() != 304 {
		t.Fatalf("taken %d, want 304", s.Taken())
	}
}

// However often the rate changes and however late ticks are taken, the count is the integral of the rate, and the ticks
// are those that a reader who takes each at once would see.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		prompt, late := newSchedule(t, 0), newSchedule(t, 0)
		var now time.Duration
		var promptTicks, lateTicks []time.Duration
		integral, rate := new(big.Int), int64(0)
		for range 30 {
			step := time.Duration(rng.Int64N(int64(2 * time.Second)))
			for range 3 { // the prompt one is asked in between too
				promptTicks = append(promptTicks, take(prompt, now+time.Duration(rng.Int64N(int64(step)+1)))...)
			}
			now += step
			integral.Add(integral, new(big.Int).Mul(big.NewInt(rate), big.NewInt(int64(step))))
			if rng.IntN(3) == 0 {
				lateTicks = append(lateTicks, take(late, now)...)
			}
			r := []float64{0, 0.25, 1, 3, 7.7, 50}[rng.IntN(6)]
			rate = int64(math.Round(r * 1e9))
			setRate(t, prompt, now, r)
			setRate(t, late, now, r)
		}
		promptTicks, lateTicks = append(promptTicks, take(prompt, now)...), append(lateTicks, take(late, now)...)
		want := integral.Div(integral, big.NewInt(unitsPerTick)).Uint64()
		if uint64(len(lateTicks)) != want || late.Taken() != want {
			t.Fatalf("seed %d: %d ticks (taken %d), want %d", seed, len(lateTicks), late.Taken(), want)
		}
		if !slices.Equal(promptTicks, lateTicks) || !slices.IsSorted(lateTicks) {
			t.Fatalf("seed %d: ticks depend on when they are taken\nprompt %v\nlate   %v", seed, promptTicks, lateTicks)
		}
	}
}

func TestTimeThatGoesBack(t *testing.T) {
	s := newSchedule(t, 1)
	equal(t, take(s, 3*time.Second), seconds(1, 2, 3))
	equal(t, take(s, time.Second), nil)
	setRate(t, s, 2*time.Second, 2) // counts as set at 3 s
	equal(t, take(s, 4*time.Second), seconds(3.5, 4))
	equal(t, take(s, -time.Hour), nil)
}

// With the monotonic clock in the times, a step of the wall clock neither bunches ticks nor shifts them for good.
func TestFollowsWallClock(t *testing.T) {
	begin := time.Now() // has a monotonic reading
	s, err := New(begin, 1)
	if err != nil {
		t.Fatal(err)
	}
	now := begin.Add(2500 * time.Millisecond)
	// Only package time can step one clock and not the other: the first word of a Time with a monotonic reading has the
	// wall clock's seconds above 30 bits of nanoseconds.
	stepped := now
	*(*uint64)(unsafe.Pointer(&stepped)) += 3600 << 30
	if stepped.Sub(now) != 0 || stepped.Unix() != now.Unix()+3600 {
		t.Fatalf("this test does not know the layout of time.Time any more: %v became %v", now, stepped)
	}
	b := s.Next(stepped, 10)
	if b.Len() != 2 {
		t.Fatalf("%d ticks after a step of the wall clock, want 2", b.Len())
	}
	for i, behind := range []time.Duration{1500 * time.Millisecond, 500 * time.Millisecond} {
		if got := time.Duration(stepped.UnixNano() - b.At(i).UnixNano()); got != behind {
			t.Errorf("tick %d is %v behind the wall clock, want %v", i, got, behind)
		}
	}
}

func TestBatchStaysValid(t *testing.T) {
	s := newSchedule(t, 10)
	b := s.Next(start.Add(time.Second), 10)
	setRate(t, s, time.Second, 1)
	take(s, time.Minute)
	if at := b.At(9).Sub(start); b.Len() != 10 || at != time.Second {
		t.Fatalf("batch changed: %d ticks, the last at %v", b.Len(), at)
	}
}

func TestManyChangesTakeNoMemory(t *testing.T) {
	s := newSchedule(t, 0.5)
	for i := range 1000 {
		at := time.Duration(i) * time.Second
		setRate(t, s, at, float64(i%3)/2)
		if i%10 == 9 {
			take(s, at)
		}
		if len(s.segments) > 11 {
			t.Fatalf("%d stretches are kept after %d changes", len(s.segments), i)
		}
	}
	setRate(t, s, time.Hour, 0)
	take(s, time.Hour)
	for range 1000 {
		setRate(t, s, time.Hour, 1)
	}
	if len(s.segments) != 1 {
		t.Fatalf("%d stretches are kept without a tick in any", len(s.segments))
	}
}

func TestRateOutOfRange(t *testing.T) {
	s := newSchedule(t, 5)
	for _, rate := range []float64{-1, math.NaN(), math.Inf(-1), MinRate / 2, MaxRate * 1.01, math.MaxFloat64} {
		if _, err := New(start, rate); err == nil {
			t.Errorf("New accepts rate %v", rate)
		}
		if err := s.SetRate(start.Add(time.Second), rate); err == nil {
			t.Errorf("SetRate accepts %v", rate)
		}
	}
	if s.Rate() != 5 {
		t.Errorf("a refused rate changed it to %v", s.Rate())
	}
	equal(t, take(s, time.Second), seconds(0.2, 0.4, 0.6, 0.8, 1))
}

func BenchmarkNext(b *testing.B) {
	s := newSchedule(b, 1_000_000)
	now := start
	var sum int64
	b.ReportAllocs()
	for n := 0; n < b.N; {
		now = now.Add(time.Millisecond)
		batch := s.Next(now, 1000)
		for i := range batch.Len() {
			sum += batch.At(i).UnixMicro()
		}
		n += batch.Len()
	}
	if sum == 0 {
		b.Fatal("no ticks")
	}
}
