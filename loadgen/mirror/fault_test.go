package mirror

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// feed gives a fault one record per second, numbered from 0, and returns the
// numbers in the order in which they leave, with the second in which they do.
func feed(f Fault, records, seconds int) (order []int64, at map[int64]int) {
	at = map[int64]int{}
	for s := range seconds {
		var in []Record
		if s < records {
			in = []Record{{Record: &kgo.Record{Offset: int64(s)}}}
		}
		for _, r := range f.Pass(time.Duration(s)*time.Second, in) {
			order = append(order, r.Offset)
			at[r.Offset] = s
		}
	}
	return order, at
}

func fault(kind string, change func(c *FaultConfig)) (Fault, *Truth) {
	c := FaultConfig{Kind: kind}
	c.SetDefaults()
	change(&c)
	truth := &Truth{}
	return newFault(c, 0, Site{Topic: "t", Partitions: func() int32 { return 3 }, Truth: truth}), truth
}

func numbers(from, to int64) (out []int64) {
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

func TestFaultHappensInItsTimeOnly(t *testing.T) {
	f, truth := fault(Drop, func(c *FaultConfig) { c.Probability, c.From, c.For = 1, 10*time.Second, 5*time.Second })
	order, _ := feed(f, 30, 30)
	if want := append(numbers(0, 10), numbers(15, 30)...); !slices.Equal(order, want) {
		t.Errorf("passed %v, want %v", order, want)
	}
	if n := len(truth.Of(Drop)); n != 5 {
		t.Errorf("the truth has %d records, want 5", n)
	}
}

func TestStallEnds(t *testing.T) {
	f, _ := fault(Stall, func(c *FaultConfig) { c.From, c.For = 10*time.Second, 5*time.Second })
	order, at := feed(f, 30, 30)
	if !slices.Equal(order, numbers(0, 30)) {
		t.Errorf("passed %v, want all in order", order)
	}
	if at[9] != 9 || at[10] != 15 || at[14] != 15 || at[16] != 16 {
		t.Errorf("the records of seconds 9, 10, 14 and 16 left at %d, %d, %d and %d; want 9, 15, 15 and 16", at[9], at[10], at[14], at[16])
	}
	if _, held := f.(Holder).Lowest(); held {
		t.Error("something is still held back")
	}
}

func TestDelayKeepsTheOrder(t *testing.T) {
	f, _ := fault(Delay, func(c *FaultConfig) { c.After, c.Hold = 11, 5*time.Second })
	order, at := feed(f, 30, 40)
	if !slices.Equal(order, numbers(0, 30)) {
		t.Errorf("passed %v, want all in order", order)
	}
	if at[9] != 9 || at[10] != 15 || at[12] != 15 || at[20] != 20 {
		t.Errorf("the records of seconds 9, 10, 12 and 20 left at %d, %d, %d and %d; want 9, 15, 15 and 20", at[9], at[10], at[12], at[20])
	}
}

func TestReorderedRecordDoesNotWaitForEver(t *testing.T) {
	f, truth := fault(Reorder, func(c *FaultConfig) { c.After = 30 })
	order, _ := feed(f, 30, 40)
	if !slices.Equal(order, numbers(0, 30)) {
		t.Errorf("passed %v, want all in order, since nothing came to overtake the last", order)
	}
	if n := len(truth.Of(Reorder)); n != 0 {
		t.Errorf("the truth has %d reordered records, and there is none", n)
	}
}

func TestMisplaceNeedsAnotherPartition(t *testing.T) {
	for partitions, want := range map[int32]bool{1: false, 2: true, 5: true} {
		c := FaultConfig{Kind: Misplace, Seed: 1, Probability: 1, Count: 1, Hold: time.Second}
		f := newFault(c, 0, Site{Topic: "t", Partitions: func() int32 { return partitions }, Truth: &Truth{}})
		for n := range int64(50) {
			out := f.Pass(0, []Record{{Record: &kgo.Record{Offset: n}}})
			if misplaced := out[0].To != 0; misplaced != want || out[0].To < 0 || out[0].To >= partitions {
				t.Fatalf("of %d partitions record %d goes to %d", partitions, n, out[0].To)
			}
		}
	}
}

func TestCorruptLeavesTheSourceRecordAlone(t *testing.T) {
	f, _ := fault(Corrupt, func(c *FaultConfig) { c.Probability = 1 })
	for n := range int64(100) {
		source := &kgo.Record{Offset: n, Key: []byte("key"), Value: []byte("value")}
		out := f.Pass(0, []Record{{Record: source}})
		if string(source.Key) != "key" || string(source.Value) != "value" {
			t.Fatalf("the source record is %q: %q now", source.Key, source.Value)
		}
		if string(out[0].Key) == "key" && string(out[0].Value) == "value" {
			t.Fatalf("record %d is as it was", n)
		}
	}
}

func TestEveryKindHasValidDefaults(t *testing.T) {
	for _, kind := range Kinds() {
		c := FaultConfig{Kind: kind}
		c.SetDefaults()
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
