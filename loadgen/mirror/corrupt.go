package mirror

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Corrupt damages records: a bit of the value or the key is wrong, or the
// value's end is missing.
const Corrupt = "corrupt"

type corrupt struct {
	at      Site
	trigger *Trigger
}

func corruptDefaults(*FaultConfig) {}

func newCorrupt(_ FaultConfig, at Site, t *Trigger) Fault { return &corrupt{at, t} }

func (f *corrupt) Pass(now time.Duration, in []Record) []Record {
	for i, r := range in {
		if !f.trigger.Hits(now, r) {
			continue
		}
		in[i].Record = f.damage(r)
		f.at.note(Corrupt, r)
	}
	return in
}

func (f *corrupt) damage(r Record) *kgo.Record {
	damaged := *r.Record
	where := f.trigger.Random(r, "where")
	switch how := f.trigger.Random(r, "how") % 4; {
	case how == 0 && len(r.Key) > 0:
		damaged.Key = flip(r.Key, where)
	case how == 1 && len(r.Value) > 0:
		damaged.Value = r.Value[:where%uint64(len(r.Value))]
	case len(r.Value) > 0:
		damaged.Value = flip(r.Value, where)
	default:
		damaged.Value = []byte{0}
	}
	return &damaged
}

// flip returns a copy with one bit turned over.
func flip(b []byte, where uint64) []byte {
	b = slices.Clone(b)
	b[where/8%uint64(len(b))] ^= 1 << (where % 8)
	return b
}
