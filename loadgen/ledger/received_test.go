package ledger

import (
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// read returns the state of who reads records of the given leader epochs, at
// the offsets 0, 1, 2 and so on, with sequences that are the same.
func read(epochs ...int32) *Received {
	r := NewReceived("t", "a", [16]byte{1}, 0, "c", 0, 0)
	for i, epoch := range epochs {
		r.Observe(&Observation{Offset: int64(i), LeaderEpoch: epoch, Kind: message.OK, ID: message.Identity{Run: 1, Sequence: uint64(i)}})
	}
	return r
}

// Whoever read less has read part of the same log only if no truncation lies
// between.
func TestContinues(t *testing.T) {
	other := read(0, 0)
	other.TopicID = [16]byte{2}
	for _, test := range []struct {
		name      string
		r, other  *Received
		continues bool
	}{
		{"the same", read(0, 0, 2), read(0, 0, 2), true},
		{"further", read(0, 0, 2, 2), read(0, 0, 2), true},
		{"further, under another leader", read(0, 0, 2, 3), read(0, 0), true},
		{"nothing was read yet", read(0), read(), true},
		{"less", read(0, 0), read(0, 0, 0), false},
		{"truncated", read(0, 0, 1, 1), read(0, 0, 0), false},
		{"truncated to nothing", read(1, 1, 1, 1), read(0, 0, 0), false},
		{"truncated, and the leader of then read on", read(0, 2, 2, 2), read(0, 0, 1), false},
		{"another topic", read(0, 0, 0), other, false},
		{"epochs that are not known", read(-1, -1, -1), read(-1, -1), false},
	} {
		if got := test.r.Continues(test.other); got != test.continues {
			t.Errorf("%s: %v", test.name, got)
		}
		if got := test.r.Covers(test.other); got != test.continues {
			t.Errorf("%s: covers it: %v", test.name, got)
		}
		data, err := test.r.Snapshot(1)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := Restore(data); err != nil || r.Continues(test.other) != test.continues {
			t.Errorf("%s: not so when it was stored and restored (%v)", test.name, err)
		}
	}
}

// The same log read again does not tell of what was rolled back before, nor one
// that was read in parts of what was removed meanwhile.
func TestCovers(t *testing.T) {
	before := read(0, 0, 0).RollBack(read(0, 1))
	if r := read(0, 1, 1); !r.Continues(before) || r.Covers(before) {
		t.Error("what was rolled back is forgotten")
	}
	if r := read(0, 0, 0).RollBack(read(0, 1, 1)); !r.Covers(before) {
		t.Error("what is known is not covered")
	}
	late := NewReceived("t", "a", [16]byte{1}, 0, "c", 1, 0)
	late.Observe(&Observation{Offset: 1, Kind: message.OK, ID: message.Identity{Run: 1, Sequence: 1}})
	if r := read(0, 0); !late.Continues(r) || late.Covers(r) {
		t.Error("what was removed before it was read is covered")
	}
}
