package message

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Any bytes at all: nothing panics or is written to, and what is believed is what an encoder would have written.
// Bits 0 to 3 of which say which of our headers there are, bit 4 adds one of others, bit 5 turns their order.
func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		for _, test := range []string{testID, "another"} {
			id := someIdentity()
			id.Test = TestHash(test)
			h := make([]kgo.RecordHeader, 4)
			rec := newRecord(f, format, id, []byte("key"), 90)
			copy(h, rec.Headers)
			for _, which := range []byte{0, 15, 14, 31, 63} {
				f.Add(rec.Value, rec.Key, which, h[0].Value, h[1].Value, h[2].Value, h[3].Value)
			}
		}
	}
	decoder := NewDecoder(testID)
	filler := newFiller(f)
	f.Fuzz(func(t *testing.T, value, key []byte, which byte, producer, sequence, intended, meta []byte) {
		rec := &kgo.Record{Value: value, Key: key}
		for i, h := range []kgo.RecordHeader{{Key: HeaderID, Value: producer}, {Key: HeaderSequence, Value: sequence},
			{Key: HeaderTimestamp, Value: intended}, {Key: HeaderMeta, Value: meta}, {Key: "other", Value: meta}} {
			if which>>i&1 == 1 {
				rec.Headers = append(rec.Headers, h)
			}
		}
		if which>>5&1 == 1 {
			slices.Reverse(rec.Headers)
		}
		before := clone(rec)
		var id Identity
		kind := decoder.Decode(rec, topic, &id)
		if !reflect.DeepEqual(rec, before) {
			t.Fatal("the record was changed")
		}
		if !kind.Identified() {
			if !reflect.DeepEqual(id, Identity{}) {
				t.Fatalf("%v with identity %+v", kind, id)
			}
			return
		}
		if id.Partition < 0 || len(id.Producer) == 0 || len(id.Producer) > MaxProducerID || bytes.IndexByte(id.Producer, ';') >= 0 {
			t.Fatalf("%v: %+v", kind, id)
		}
		if kind == Corrupt {
			return
		}
		format := FormatValue
		for _, h := range rec.Headers {
			if strings.HasPrefix(h.Key, HeaderPrefix) {
				format = FormatHeaders
			}
		}
		var again kgo.Record
		NewEncoder(format, topic, filler).Encode(&again, &id, key, len(value))
		if len(again.Value) != len(value) {
			t.Fatalf("an encoder writes %d bytes for this identity, not %d", len(again.Value), len(value))
		}
		var got Identity
		if decoder.Decode(&again, topic, &got) != kind || !reflect.DeepEqual(got, id) {
			t.Fatalf("read back as %+v, want %+v", got, id)
		}
	})
}

// What is encoded is read back, and not after any change of one bit.
func FuzzRoundTrip(f *testing.F) {
	f.Add("producer-1", uint64(1), uint32(2), int32(3), uint64(4), int64(5), []byte("key"), uint16(1000), false, uint32(77))
	f.Add("p", uint64(0), uint32(0), int32(0), uint64(1<<63), int64(-1), []byte(nil), uint16(0), true, uint32(8))
	decoder := NewDecoder(testID)
	filler := newFiller(f)
	f.Fuzz(func(t *testing.T, producer string, run uint64, epoch uint32, partition int32, sequence uint64, intended int64, key []byte, size uint16, inHeaders bool, flip uint32) {
		if ValidateProducerID(producer) != nil || partition < 0 {
			return
		}
		format := FormatValue
		if inHeaders {
			format = FormatHeaders
		}
		in := Identity{Test: TestHash(testID), Producer: []byte(producer), Run: run, Epoch: epoch, Partition: partition, Sequence: sequence, Intended: intended}
		var rec kgo.Record
		NewEncoder(format, topic, filler).Encode(&rec, &in, key, int(size))
		var out Identity
		if kind := decoder.Decode(&rec, topic, &out); kind != OK || !reflect.DeepEqual(in, out) {
			t.Fatalf("%v\n in %+v\nout %+v", kind, in, out)
		}
		rec.Key = bytes.Clone(key) // it must not be written to
		parts := [][]byte{rec.Key, rec.Value}
		for _, h := range rec.Headers {
			parts = append(parts, h.Value)
		}
		total := 0
		for _, p := range parts {
			total += len(p)
		}
		at := int(flip) % (8 * total)
		for _, p := range parts {
			if at < 8*len(p) {
				p[at/8] ^= 1 << (at % 8)
				break
			}
			at -= 8 * len(p)
		}
		if kind := decoder.Decode(&rec, topic, &out); !damaged(kind) {
			t.Fatalf("%v after a flipped bit", kind)
		}
	})
}
