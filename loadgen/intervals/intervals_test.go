package intervals

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// naive is the known truth: a plain map.
type naive map[uint64]bool

func (n naive) ranges() []Range {
	keys := make([]uint64, 0, len(n))
	for k := range n {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []Range
	for _, k := range keys {
		if len(out) > 0 && out[len(out)-1].To == k {
			out[len(out)-1].To++
			continue
		}
		out = append(out, Range{From: k, To: k + 1})
	}
	return out
}

func check(t *testing.T, what string, s *Set, want naive) {
	t.Helper()
	if got := s.Ranges(-1); !slices.Equal(got, want.ranges()) {
		t.Fatalf("%s: got %v, want %v", what, got, want.ranges())
	}
	if s.Len() != uint64(len(want)) {
		t.Fatalf("%s: length %d, want %d", what, s.Len(), len(want))
	}
	var largest uint64
	for k := range want {
		largest = max(largest, k)
	}
	if got, ok := s.Max(); ok != (len(want) > 0) || got != largest {
		t.Fatalf("%s: max %d %v, want %d", what, got, ok, largest)
	}
}

// fill makes a set and its truth: runs, single numbers, repeats; fragmented
// ones pass MaxRanges and so turn into bitmaps.
func fill(r *rand.Rand, n int, span uint64) (Set, naive) {
	var s Set
	truth := naive{}
	next := r.Uint64N(span)
	for range n {
		switch r.IntN(10) {
		case 0:
			next = r.Uint64N(span)
		case 1:
			next += 2
		case 2, 3:
			from := r.Uint64N(span)
			if r.IntN(2) == 0 {
				from = next // where what was added last ends
			}
			to := from + r.Uint64N(20)
			s.AddRange(from, to)
			for i := from; i < to; i++ {
				truth[i] = true
			}
			if s.Len() != uint64(len(truth)) {
				panic("AddRange miscounted")
			}
			continue
		}
		if got := s.Add(next); got == truth[next] {
			panic("Add said the wrong thing")
		}
		truth[next] = true
		next++
	}
	return s, truth
}

func TestSetAgainstMap(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		n, span := 1+r.IntN(200), uint64(1+r.IntN(400))
		if seed%150 == 0 {
			n, span = 60_000, 2_000_000 // becomes a bitmap
		}
		a, ta := fill(r, n, span)
		b, tb := fill(r, n, span)
		check(t, "a", &a, ta)

		minus, intersect, union := naive{}, naive{}, naive{}
		for k := range ta {
			union[k] = true
			if tb[k] {
				intersect[k] = true
			} else {
				minus[k] = true
			}
		}
		for k := range tb {
			union[k] = true
		}
		m, i := a.Minus(&b), a.Intersect(&b)
		check(t, "minus", &m, minus)
		check(t, "intersect", &i, intersect)
		u := a.Clone()
		u.Union(&b)
		check(t, "union", &u, union)
		check(t, "a is unchanged", &a, ta)

		data, err := cbor.Marshal(&a)
		if err != nil {
			t.Fatal(err)
		}
		var back Set
		if err := cbor.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		check(t, "stored", &back, ta)
		for range 50 {
			k := r.Uint64N(span)
			if back.Contains(k) != ta[k] {
				t.Fatalf("seed %d: contains %d = %v", seed, k, back.Contains(k))
			}
			if back.Add(k) == ta[k] {
				t.Fatalf("seed %d: add %d after reading back", seed, k)
			}
			ta[k] = true
		}
		check(t, "stored and added to", &back, ta)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for name, in := range map[string]stored{
		"odd":      {Ranges: []uint64{1}},
		"empty":    {Ranges: []uint64{1, 0}},
		"touching": {Ranges: []uint64{0, 1, 0, 1}},
		"overflow": {Ranges: []uint64{1 << 63, 1 << 63}},
		"bitmap":   {Bitmap: []byte{1, 2, 3}},
	} {
		data, err := cbor.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var s Set
		if err := s.UnmarshalCBOR(data); err == nil {
			t.Errorf("%s: accepted as %v", name, s.Ranges(-1))
		}
	}
}

// Memory follows gaps, not members.
func TestFragmentedSetIsBounded(t *testing.T) {
	var s Set
	for n := uint64(0); n < 4_000_000; n += 2 {
		s.Add(n)
	}
	if s.bitmap == nil {
		t.Fatal("two million gaps are still a list")
	}
	if got := s.bitmap.GetSizeInBytes(); got > 4_000_000/8*11/10 {
		t.Fatalf("%d bytes for a span of 4,000,000", got)
	}
}

func BenchmarkAddNext(b *testing.B) {
	b.ReportAllocs()
	var s Set
	for i := range b.N {
		s.Add(uint64(i))
	}
}
