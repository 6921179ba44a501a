package mirror

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a record on its way. The embedded one is as it was read from the
// source, with the source's offset, and is shared: a fault that changes
// anything but To works on a copy.
type Record struct {
	*kgo.Record
	To int32 // destination partition
}

// Fault changes what goes through one partition. It is used by one goroutine.
type Fault interface {
	// Pass takes the records that have come, in the order in which they would
	// leave, and returns those that leave now. It is also called without any,
	// when nothing but time has passed. now is the time since the mirror's start.
	Pass(now time.Duration, in []Record) []Record
}

// Holder is a Fault that holds records back.
type Holder interface {
	Fault
	// Lowest returns the lowest source offset held back; any is false if nothing
	// is. The mirror's position waits for it, so that what is held is not lost
	// when the mirror stops.
	Lowest() (offset int64, any bool)
}

// kind is how one kind of fault is made, and its defaults.
type kind struct {
	make     func(c FaultConfig, at Site, trigger *Trigger) Fault
	defaults func(c *FaultConfig)
}

// kinds is the registry. A new kind is a file of its own and a line here.
func kinds() map[string]kind {
	return map[string]kind{
		Drop:      {newDrop, dropDefaults},
		Duplicate: {newDuplicate, duplicateDefaults},
		Reorder:   {newReorder, reorderDefaults},
		Corrupt:   {newCorrupt, corruptDefaults},
		Delay:     {newDelay, delayDefaults},
		Stall:     {newStall, stallDefaults},
		Misplace:  {newMisplace, misplaceDefaults},
		Replay:    {newReplay, replayDefaults},
	}
}

// Kinds returns the names of all kinds of faults, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }

// FaultConfig says what goes wrong, where and when. A fault happens either once
// on each of its partitions (After), or by chance to each record of a time.
type FaultConfig struct {
	// Kind is one of Kinds.
	Kind string
	// Seed decides which records are hit. The choice depends on nothing else but
	// a record's topic, partition and offset.
	Seed uint64
	// Partitions limits the fault to some source partitions; none means all.
	Partitions []int32

	// Probability is the share of the records that are hit, above 0 up to 1. It
	// is not used with After.
	Probability float64
	// From is when the fault begins, after the mirror's start, and For how long
	// it lasts; 0: to the end.
	From, For time.Duration
	// After makes the fault happen once on each partition, at the record with
	// this number as this mirror counts them, from 1. 0: by chance.
	After uint64

	// Count is a number of records, 1 or more: the extra copies of a duplicate,
	// how many records overtake one that is reordered, how far a replay goes
	// back. Other kinds do not use it.
	Count int
	// Hold is how long records are held back by a delay, above 0. Other kinds do
	// not use it.
	Hold time.Duration
}

// SetDefaults sets every field but Kind to the default of the kind.
func (c *FaultConfig) SetDefaults() {
	*c = FaultConfig{Kind: c.Kind, Seed: 1, Probability: 0.001, Count: 1, Hold: time.Second}
	if k, ok := kinds()[c.Kind]; ok {
		k.defaults(c)
	}
}

// Validate reports every mistake in c at once.
func (c *FaultConfig) Validate() error {
	var errs []error
	if _, ok := kinds()[c.Kind]; !ok {
		errs = append(errs, fmt.Errorf("unknown kind %q: use one of %s", c.Kind, strings.Join(Kinds(), ", ")))
	}
	if c.After == 0 && !(c.Probability > 0 && c.Probability <= 1) {
		errs = append(errs, fmt.Errorf("%s: probability %v: use more than 0 and at most 1", c.Kind, c.Probability))
	}
	if c.From < 0 || c.For < 0 {
		errs = append(errs, fmt.Errorf("%s: from %s for %s: use 0 or more", c.Kind, c.From, c.For))
	}
	if c.Count < 1 {
		errs = append(errs, fmt.Errorf("%s: count %d: use 1 or more", c.Kind, c.Count))
	}
	if c.Hold <= 0 {
		errs = append(errs, fmt.Errorf("%s: hold %s: use more than 0", c.Kind, c.Hold))
	}
	for _, p := range c.Partitions {
		if p < 0 {
			errs = append(errs, fmt.Errorf("%s: partition %d: use 0 or more", c.Kind, p))
		}
	}
	return errors.Join(errs...)
}

// Site is where a fault is: one source partition.
type Site struct {
	Topic     string
	Partition int32
	// Partitions returns how many the topic has at the destination.
	Partitions func() int32
	Truth      *Truth
}

func (s *Site) note(kind string, r Record) { s.Truth.add(kind, s.Topic, s.Partition, r.Offset) }

// newFault makes the fault for one partition. index tells faults of the same
// seed apart.
func newFault(c FaultConfig, index int, at Site) Fault {
	salt := binary.LittleEndian.AppendUint64(nil, c.Seed)
	salt = binary.LittleEndian.AppendUint32(salt, uint32(index))
	salt = binary.LittleEndian.AppendUint32(salt, uint32(at.Partition))
	salt = append(salt, at.Topic...)
	return kinds()[c.Kind].make(c, at, &Trigger{cfg: c, salt: salt, number: len(salt)})
}

// Trigger decides for each record of a partition whether a fault happens to it.
type Trigger struct {
	cfg    FaultConfig
	salt   []byte // and room behind it for what is hashed
	number int    // length of the salt
	seen   uint64
}

// Hits takes the next record of the partition.
func (t *Trigger) Hits(now time.Duration, r Record) bool {
	t.seen++
	if t.cfg.After > 0 {
		return t.seen == t.cfg.After
	}
	if now < t.cfg.From || (t.cfg.For > 0 && now >= t.cfg.From+t.cfg.For) {
		return false
	}
	return float64(t.Random(r, "hit"))/math.MaxUint64 < t.cfg.Probability
}

// Random returns a number that depends on the seed, the record and the purpose
// alone.
func (t *Trigger) Random(r Record, purpose string) uint64 {
	t.salt = binary.LittleEndian.AppendUint64(t.salt[:t.number], uint64(r.Offset))
	t.salt = append(t.salt, purpose...)
	return xxhash.Sum64(t.salt)
}
