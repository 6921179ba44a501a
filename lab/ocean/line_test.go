package ocean

import (
	"math"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// run lets packets of a size enter at their times and returns when each left, and which of them, in order.
func run(t *testing.T, l *line[int], size int, entries []time.Duration) (left []time.Duration, which []int) {
	t.Helper()
	take := func(now time.Duration) {
		for {
			at, waiting := l.next()
			if !waiting || at > now {
				return
			}
			if _, early := l.leave(at - 1); early {
				t.Fatalf("a packet left before %s", at)
			}
			p, ok := l.leave(at)
			if !ok {
				t.Fatalf("no packet left at %s, though next said so", at)
			}
			left, which = append(left, at), append(which, p)
		}
	}
	for i, now := range entries {
		take(now)
		l.enter(now, size, i)
	}
	take(math.MaxInt64)
	if l.bytes != 0 {
		t.Errorf("the empty line holds %d bytes", l.bytes)
	}
	return left, which
}

func every(n int, interval time.Duration) []time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		times[i] = time.Duration(i) * interval
	}
	return times
}

func TestDelayIsTheSameForEachPacket(t *testing.T) {
	left, which := run(t, newLine[int](Link{Delay: 40 * ms}, 1, 1), 100, []time.Duration{0, 0, 7 * ms, 90 * ms})
	if want := []time.Duration{40 * ms, 40 * ms, 47 * ms, 130 * ms}; !slices.Equal(left, want) {
		t.Errorf("packets left at %s, want %s", left, want)
	}
	if want := []int{0, 1, 2, 3}; !slices.Equal(which, want) {
		t.Errorf("packets left in the order %d", which)
	}
}

func TestJitterStaysInItsBoundsAndKeepsOrderUnlessAsked(t *testing.T) {
	entries := every(2000, ms)
	for _, reorder := range []bool{false, true} {
		left, which := run(t, newLine[int](Link{Delay: 40 * ms, Jitter: 10 * ms, Reorder: reorder}, 1, 1), 100, entries)
		var least, most = time.Duration(math.MaxInt64), time.Duration(0)
		for i, at := range left {
			took := at - entries[which[i]]
			least, most = min(least, took), max(most, took)
		}
		if least < 30*ms || most > 50*ms {
			t.Errorf("reorder %v: packets took %s to %s, want 30ms to 50ms", reorder, least, most)
		}
		// A packet that is kept behind a late one takes longer, so that only the upper bound is near.
		if most < 49*ms || reorder && least > 31*ms {
			t.Errorf("reorder %v: packets took %s to %s: the jitter is not used up", reorder, least, most)
		}
		if slices.IsSorted(which) == reorder {
			t.Errorf("reorder %v: in order is %v", reorder, !reorder)
		}
	}
}

func TestLossIsTheShareAskedForAndTheSameForTheSameSeed(t *testing.T) {
	const n = 100_000
	for _, percent := range []float64{0, 0.1, 1, 10, 100} {
		_, first := run(t, newLine[int](Link{Loss: percent}, 7, 1), 100, make([]time.Duration, n))
		_, again := run(t, newLine[int](Link{Loss: percent}, 7, 1), 100, make([]time.Duration, n))
		if !slices.Equal(first, again) {
			t.Errorf("%v %%: the same seed lost other packets", percent)
		}
		p := percent / 100
		got, want, sigma := float64(n-len(first)), n*p, math.Sqrt(n*p*(1-p))
		if math.Abs(got-want) > 4*sigma {
			t.Errorf("%v %%: lost %v of %d, want %v within %v", percent, got, n, want, 4*sigma)
		}
	}
	_, one := run(t, newLine[int](Link{Loss: 10}, 7, 1), 100, make([]time.Duration, 1000))
	_, other := run(t, newLine[int](Link{Loss: 10}, 7, 2), 100, make([]time.Duration, 1000))
	if slices.Equal(one, other) {
		t.Error("two lines lose the same packets")
	}
}

func TestBandwidthSpreadsPacketsAndItsQueueDropsTheTail(t *testing.T) {
	// 1000 B at 1 MB/s take 1 ms each. Beside the one on the wire, 5 wait.
	l := newLine[int](Link{Bandwidth: 1e6, Queue: 5000, Delay: 40 * ms}, 1, 1)
	left, which := run(t, l, 1000, make([]time.Duration, 10))
	if want := []int{0, 1, 2, 3, 4}; !slices.Equal(which, want) {
		t.Errorf("packets %d passed, want %d: those that fit into the queue", which, want)
	}
	for i, at := range left {
		if want := 40*ms + time.Duration(i+1)*ms; at != want {
			t.Errorf("packet %d left at %s, want %s", i, at, want)
		}
	}
	// A packet at a time, the line is as fast as it should be, and nothing is dropped.
	left, _ = run(t, newLine[int](Link{Bandwidth: 1e6}, 1, 1), 1000, every(1000, ms))
	if len(left) != 1000 || left[999] != 1000*ms {
		t.Errorf("%d of 1000 packets passed, the last at %s", len(left), left[len(left)-1])
	}
}

func TestALineWithoutAQueueOfItsOwnHoldsWhatOneFlowNeeds(t *testing.T) {
	for _, c := range []struct {
		link Link
		want int64
	}{
		{Link{Bandwidth: 100e6, Delay: 40 * ms}, 10e6}, // never less than 100 ms
		{Link{Bandwidth: 100e6, Delay: 100 * ms}, 20e6},
		{Link{Bandwidth: 1000}, 256 << 10},
	} {
		if got := c.link.DefaultQueue(); got != c.want {
			t.Errorf("%+v: queue of %d bytes, want %d", c.link, got, c.want)
		}
	}
}

func TestAPartitionCutsAndAChangeKeepsOrder(t *testing.T) {
	l := newLine[int](Link{Partition: true}, 1, 1)
	if got := l.enter(0, 100, 0); got != cut {
		t.Errorf("a partition's outcome is %d, want %d", got, cut)
	}
	l.link = Link{Delay: 100 * ms}
	l.enter(0, 100, 1)
	l.link = Link{}
	if l.idle() {
		t.Error("the line is idle while it holds a packet, which the next one would overtake")
	}
	l.enter(ms, 100, 2)
	for want := 1; want <= 2; want++ {
		if got, ok := l.leave(100 * ms); !ok || got != want {
			t.Errorf("packet %d (%v) left, want %d", got, ok, want)
		}
	}
	if !l.idle() {
		t.Error("an empty line without a link is not idle")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l := newLine[int](Link{Delay: time.Minute}, 1, 1)
	const size = 1 << 20
	for i := range maxHeld / size {
		if got := l.enter(0, size, i); got != held {
			t.Fatalf("packet %d: outcome %d", i, got)
		}
	}
	if got := l.enter(0, size, 0); got != overrun {
		t.Errorf("outcome %d beyond the bound, want %d", got, overrun)
	}
}

func TestMistakesInALinkAreAllNamed(t *testing.T) {
	err := Link{Delay: -1, Jitter: time.Second, Loss: 101, Bandwidth: -1, Queue: -5}.Validate()
	wantMistakes(t, err, "delay is -1ns", "jitter is 1s", "loss is 101", "bandwidth is -1", "queue is -5")
	wantMistakes(t, Link{Loss: math.NaN(), Queue: 1}.Validate(), "loss is NaN", "nothing waits without a bandwidth")
	c := Config{Sides: []string{"a", "a", "", Outside}, Link: Link{Loss: -1}, MTU: 1, SocketBuffer: 1}
	wantMistakes(t, c.Validate(), `"a" is named twice`, `"" is no name`, `"outside" is no name`, "loss is -1", "mtu is 1", "socket buffer is 1")
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
