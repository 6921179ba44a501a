package slowdisk

import (
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestOperationsAreAsLateAsAskedForAndShareTheBandwidth(t *testing.T) {
	start := time.Unix(1000, 0)
	after := func(th *throttle, at time.Duration, op operation, size int) time.Duration {
		return th.take(start.Add(at), op, size).Sub(start)
	}
	want := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: done after %s, want %s", what, got, want)
		}
	}
	th := &throttle{}
	want("a disk that is not slow", after(th, 5*ms, write, 1<<20), 5*ms)
	th = &throttle{slow: Slowness{Read: 10 * ms, Write: 20 * ms, Sync: 30 * ms}}
	want("read", after(th, 0, read, 100), 10*ms)
	want("write", after(th, 0, write, 100), 20*ms)
	want("sync", after(th, 0, sync, 0), 30*ms)
	want("a second write at once, since disks do many things at a time", after(th, 0, write, 100), 20*ms)

	th = &throttle{slow: Slowness{Bandwidth: 1e6, Sync: 7 * ms}}
	want("1000 B at 1 MB/s", after(th, 0, write, 1000), ms)
	want("the next, which queues", after(th, 0, read, 1000), 2*ms)
	want("a sync, which transfers nothing", after(th, 0, sync, 0), 7*ms)
	want("one after a pause, for which nothing is saved up", after(th, 10*ms, write, 1000), 11*ms)
}

func TestMistakesAreAllNamed(t *testing.T) {
	err := Slowness{Read: -1, Write: time.Hour, Sync: -2, Bandwidth: -3}.Validate()
	for _, want := range []string{"read is -1ns", "write is 1h0m0s", "sync is -2ns", "bandwidth is -3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if err := (Slowness{}).Validate(); err != nil {
		t.Error(err)
	}
}
