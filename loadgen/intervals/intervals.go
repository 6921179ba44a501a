// Package intervals holds sets of sequence numbers as ranges, because what a
// replicator carries is nearly always contiguous: a set costs memory for its
// gaps, not for its members.
package intervals

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/fxamacker/cbor/v2"
)

// MaxRanges is how many ranges a Set keeps as a list before it turns into a
// compressed bitmap. With it a Set takes at most 16 bytes x MaxRanges = 64 KiB
// as a list, and beyond that at most about one bit for each number between
// its smallest and its largest member.
const MaxRanges = 4096

// Range is the half-open range [From, To).
type Range struct {
	_    struct{} `cbor:",toarray"`
	From uint64   `json:"from"`
	To   uint64   `json:"to"`
}

// Len is how many numbers the range holds.
func (r Range) Len() uint64 { return r.To - r.From }

// String writes the range as people do, "7" or "7-9", with both ends included.
func (r Range) String() string {
	if r.To == r.From+1 {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To-1)
}

// Set is a set of sequence numbers below 1<<63. The zero value is empty and
// ready for use. It is not safe for concurrent use.
type Set struct {
	// ranges are sorted and neither overlap nor touch. In bitmap form there is
	// at most one: the range that grows at the moment, so that the usual case,
	// the next number, never touches the bitmap.
	ranges []Range
	bitmap *roaring64.Bitmap // nil until fragmented
	count  uint64
}

// Of returns the set of all numbers in the given ranges.
func Of(ranges ...Range) Set {
	var s Set
	for _, r := range ranges {
		s.AddRange(r.From, r.To)
	}
	return s
}

// Len is how many numbers the set holds.
func (s *Set) Len() uint64 { return s.count }

// Empty reports whether the set holds nothing.
func (s *Set) Empty() bool { return s.count == 0 }

// Max returns the largest number held; ok is false when there is none.
func (s *Set) Max() (largest uint64, ok bool) {
	if s.count == 0 {
		return 0, false
	}
	if n := len(s.ranges); n > 0 {
		largest = s.ranges[n-1].To - 1
	}
	if s.bitmap != nil && !s.bitmap.IsEmpty() {
		largest = max(largest, s.bitmap.Maximum())
	}
	return largest, true
}

// Contains reports whether n is held.
func (s *Set) Contains(n uint64) bool {
	if i := s.search(n); i < len(s.ranges) && s.ranges[i].From <= n {
		return true
	}
	return s.bitmap != nil && s.bitmap.Contains(n)
}

// search returns the index of the first range that ends above n.
func (s *Set) search(n uint64) int {
	i, _ := slices.BinarySearchFunc(s.ranges, n, func(r Range, n uint64) int {
		if r.To <= n {
			return -1
		}
		return 1
	})
	return i
}

// Add puts n into the set and reports whether it was absent before.
func (s *Set) Add(n uint64) bool {
	// The next number in sequence: by far the most frequent case.
	if last := len(s.ranges) - 1; last >= 0 && s.ranges[last].To == n {
		if s.bitmap != nil && s.bitmap.Contains(n) {
			return false
		}
		s.ranges[last].To++
		s.count++
		return true
	}
	if s.Contains(n) {
		return false
	}
	s.count++
	if s.bitmap != nil {
		s.flush()
		s.ranges = append(s.ranges, Range{From: n, To: n + 1})
		return true
	}
	s.insert(Range{From: n, To: n + 1})
	return true
}

// AddRange puts all of [from, to) into the set.
func (s *Set) AddRange(from, to uint64) {
	if from >= to {
		return
	}
	// What goes on where the largest so far ends.
	if last := len(s.ranges) - 1; last >= 0 && s.ranges[last].To == from && (s.bitmap == nil || s.bitmap.IsEmpty() || s.bitmap.Maximum() < from) {
		s.ranges[last].To = to
		s.count += to - from
		return
	}
	if s.bitmap != nil {
		s.flush()
		s.bitmap.AddRange(from, to)
		s.count = s.bitmap.GetCardinality()
		return
	}
	if last := len(s.ranges) - 1; last < 0 || s.ranges[last].To < from {
		s.count += to - from // above everything: nothing to merge with
		s.insert(Range{From: from, To: to})
		return
	}
	s.insert(Range{From: from, To: to})
	if s.bitmap != nil {
		s.count = s.bitmap.GetCardinality()
		return
	}
	s.count = 0
	for _, r := range s.ranges {
		s.count += r.Len()
	}
}

// insert merges r into the list and turns the list into a bitmap when it has
// become too long.
func (s *Set) insert(r Range) {
	// All ranges in [lo, hi) overlap or touch r.
	lo, _ := slices.BinarySearchFunc(s.ranges, r.From, func(x Range, from uint64) int {
		if x.To < from {
			return -1
		}
		return 1
	})
	hi := lo
	for hi < len(s.ranges) && s.ranges[hi].From <= r.To {
		r.From = min(r.From, s.ranges[hi].From)
		r.To = max(r.To, s.ranges[hi].To)
		hi++
	}
	s.ranges = slices.Replace(s.ranges, lo, hi, r)
	if len(s.ranges) > MaxRanges {
		s.bitmap = roaring64.New()
		s.flush()
		s.ranges = nil // gives the list's memory back
	}
}

// flush moves every listed range into the bitmap.
func (s *Set) flush() {
	for _, r := range s.ranges {
		s.bitmap.AddRange(r.From, r.To)
	}
	s.ranges = s.ranges[:0]
}

// All yields the set's maximal ranges in rising order.
func (s *Set) All() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		if s.bitmap == nil {
			for _, r := range s.ranges {
				if !yield(r) {
					return
				}
			}
			return
		}
		s.flush()
		var (
			cur   Range
			open  bool
			block [1024]uint64
		)
		for it := s.bitmap.ManyIterator(); ; {
			n := it.NextMany(block[:])
			if n == 0 {
				break
			}
			for _, v := range block[:n] {
				switch {
				case open && v == cur.To:
					cur.To++
				case open:
					if !yield(cur) {
						return
					}
					fallthrough
				default:
					cur, open = Range{From: v, To: v + 1}, true
				}
			}
		}
		if open {
			yield(cur)
		}
	}
}

// Ranges returns the first n maximal ranges, all of them when n is negative.
func (s *Set) Ranges(n int) []Range {
	var out []Range
	for r := range s.All() {
		if n >= 0 && len(out) >= n {
			break
		}
		out = append(out, r)
	}
	return out
}

// Clone returns a copy that shares nothing with s.
func (s *Set) Clone() Set {
	c := Set{ranges: slices.Clone(s.ranges), count: s.count}
	if s.bitmap != nil {
		c.bitmap = s.bitmap.Clone()
	}
	return c
}

// Union adds every number of other to s.
func (s *Set) Union(other *Set) {
	for r := range other.All() {
		s.AddRange(r.From, r.To)
	}
}

// Minus returns the numbers of s that are not in other.
func (s *Set) Minus(other *Set) Set {
	var out Set
	next, stop := iter.Pull(other.All())
	defer stop()
	cut, ok := next()
	for r := range s.All() {
		for ok && cut.To <= r.From {
			cut, ok = next()
		}
		for ok && cut.From < r.To {
			out.push(r.From, cut.From)
			r.From = max(r.From, min(cut.To, r.To))
			if cut.To > r.To {
				break // it may also cut the next range of s
			}
			cut, ok = next()
		}
		out.push(r.From, r.To)
	}
	return out
}

// Intersect returns the numbers that are in both sets.
func (s *Set) Intersect(other *Set) Set {
	rest := s.Minus(other)
	return s.Minus(&rest)
}

// Below returns the numbers of s that are smaller than limit.
func (s *Set) Below(limit uint64) Set {
	var out Set
	for r := range s.All() {
		out.push(r.From, min(r.To, limit))
	}
	return out
}

// push adds a range above everything held so far.
func (s *Set) push(from, to uint64) {
	if from < to {
		s.AddRange(from, to)
	}
}

// stored is the written form: a list of ranges, or a bitmap.
type stored struct {
	_      struct{} `cbor:",toarray"`
	Ranges []uint64 // from, length, gap, length, gap, …
	Bitmap []byte
}

// MarshalCBOR implements cbor.Marshaler.
func (s *Set) MarshalCBOR() ([]byte, error) {
	var out stored
	if s.bitmap != nil {
		s.flush()
		s.bitmap.RunOptimize()
		b, err := s.bitmap.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("write a set of sequences: %w", err)
		}
		out.Bitmap = b
		return cbor.Marshal(out)
	}
	out.Ranges = make([]uint64, 0, 2*len(s.ranges))
	var end uint64
	for _, r := range s.ranges {
		out.Ranges = append(out.Ranges, r.From-end, r.Len())
		end = r.To
	}
	return cbor.Marshal(out)
}

var errStored = errors.New("not a set of sequences")

// UnmarshalCBOR implements cbor.Unmarshaler. It refuses what MarshalCBOR
// cannot have written.
func (s *Set) UnmarshalCBOR(data []byte) error {
	var in stored
	if err := cbor.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read a set of sequences: %w", err)
	}
	*s = Set{}
	if len(in.Bitmap) > 0 {
		b := roaring64.New()
		if err := b.UnmarshalBinary(in.Bitmap); err != nil {
			return fmt.Errorf("read a set of sequences: %w", err)
		}
		if err := b.Validate(); err != nil {
			return fmt.Errorf("read a set of sequences: %w", err)
		}
		if !b.IsEmpty() && b.Maximum() >= 1<<63 {
			return fmt.Errorf("%w: %d is among them", errStored, b.Maximum())
		}
		s.bitmap, s.count = b, b.GetCardinality()
		return nil
	}
	if len(in.Ranges)%2 != 0 || len(in.Ranges) > 2*MaxRanges {
		return fmt.Errorf("%w: %d numbers", errStored, len(in.Ranges))
	}
	var end uint64
	for i := 0; i < len(in.Ranges); i += 2 {
		gap, length := in.Ranges[i], in.Ranges[i+1]
		if length == 0 || gap == 0 && i > 0 || gap > math.MaxInt64-end || length > math.MaxInt64-end-gap {
			return fmt.Errorf("%w: range %d", errStored, i/2)
		}
		s.ranges = append(s.ranges, Range{From: end + gap, To: end + gap + length})
		end += gap + length
		s.count += length
	}
	return nil
}
