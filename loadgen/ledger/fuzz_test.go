package ledger

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// A ledger topic with anything in it: what is not as the store writes it is reported with its key and its place
// and yields nothing, what a record holds in memory is bounded by what was read, and a good entry is always found
// and replaces what was bad of its key.
func FuzzEntries(f *testing.F) {
	payload := []byte("a state")
	good := manifest{Length: uint64(len(payload)), Checksum: xxhash.Sum64(payload), Inline: payload}
	chunked := good
	chunked.Inline, chunked.Chunks, chunked.Slot = nil, 2, "01234567.0"
	k := Key{testID, KindReceived, "load/0/a"}.String()
	first, second := append(header(typeChunk), payload[:3]...), append(header(typeChunk), payload[3:]...)
	f.Add(k, rawManifest(f, good), k, []byte{}, k, []byte("something else"))
	f.Add(chunkKey(k, chunked.Slot, 0), first, chunkKey(k, chunked.Slot, 1), second, k, rawManifest(f, chunked))
	f.Add(chunkKey(k, chunked.Slot, 0), first, k, rawManifest(f, chunked), k+"#x/1", second)
	f.Add(k, append([]byte(entryMagic), 9, typeManifest), "no key", rawManifest(f, good), k, append(header(9), 1))
	f.Add("#01234567.0/0", first, "/#01234567.0/-1", first, "a/b/#01234567.0/+1", first)
	f.Fuzz(func(t *testing.T, k1 string, v1 []byte, k2 string, v2 []byte, k3 string, v3 []byte) {
		r := &Reader{}
		r.rewind()
		var got []Entry
		yield := func(e Entry) error { got = append(got, e); return nil }
		read := 0
		offset := int64(0)
		add := func(key string, value []byte) {
			read += len(value)
			if err := r.take(&kgo.Record{Key: []byte(key), Value: value, Offset: offset}, yield); err != nil {
				t.Fatalf("%q ends the reading: %v", key, err)
			}
			offset++
		}
		for _, rec := range []struct {
			key   string
			value []byte
		}{{k1, v1}, {k2, v2}, {k3, v3}} {
			add(rec.key, rec.value)
		}
		held := 0
		for _, chunks := range r.chunks {
			for _, c := range chunks {
				held += len(c)
			}
		}
		for _, e := range got {
			held += len(e.Payload)
			// What is yielded is what a store would have written: it reads back the same.
			again := &Reader{}
			again.rewind()
			m := manifest{Length: uint64(len(e.Payload)), Checksum: xxhash.Sum64(e.Payload), Inline: e.Payload}
			var same []Entry
			err := again.take(&kgo.Record{Key: []byte(e.Key.String()), Value: rawManifest(t, m), Offset: e.Offset}, func(e Entry) error { same = append(same, e); return nil })
			if err != nil || len(same) != 1 || same[0].Key != e.Key || !bytes.Equal(same[0].Payload, e.Payload) {
				t.Fatalf("entry %v of %d bytes reads back as %v, %v", e.Key, len(e.Payload), same, err)
			}
		}
		if held > 2*read { // a chunk is held once, and once more in an entry
			t.Fatalf("%d bytes are held of %d that were read", held, read)
		}
		for key, bad := range r.bad {
			if bad.Key != key || bad.Offset < 0 || bad.Offset > 2 || !strings.Contains(bad.Error(), key) {
				t.Fatalf("%q is reported as %v", key, bad)
			}
			if !errors.Is(bad, ErrCorrupt) && !errors.Is(bad, ErrTruncated) && !errors.Is(bad, ErrVersion) {
				t.Fatalf("%v has no reason", bad)
			}
		}
		// Good entries of the same keys, by a store.
		bad := len(r.bad)
		for _, key := range slices.Compact([]string{k1, k2, k3}) {
			if _, err := ParseKey(key); err != nil {
				continue
			}
			_, was := r.bad[key]
			got = nil
			add(key, rawManifest(t, good))
			if len(got) != 1 || got[0].Key.String() != key || !bytes.Equal(got[0].Payload, payload) || got[0].Offset != offset-1 {
				t.Fatalf("a good entry of %q reads as %v", key, got)
			}
			if was {
				bad--
			}
			if len(r.bad) != bad {
				t.Fatalf("after a good entry of %q: %v", key, r.damage())
			}
		}
	})
}

// canonical is the written form with the keys of maps in order, which says whether two states are the same.
func canonical(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CanonicalEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	data, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// allocated is how many bytes of the heap this process has ever taken.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A state is refused, or is one that can be worked with and that is written as it was read.
func FuzzStates(f *testing.F) {
	r := NewReceived(testID, "load", [16]byte{1}, 3, "consumer-0", 5, 1)
	for i, o := range []Observation{
		{Kind: message.OK, ID: message.Identity{Producer: []byte("p"), Run: 7, Sequence: 3, Partition: 3, Intended: 1}},
		{Kind: message.OK, ID: message.Identity{Producer: []byte("p"), Run: 7, Sequence: 3, Partition: 3, Intended: 1}},
		{Kind: message.OK, ID: message.Identity{Producer: []byte("p"), Run: 7, Sequence: 1, Partition: 3, Intended: 1}, Misplaced: true},
		{Kind: message.TooShort},
	} {
		o.Offset, o.At, o.Bytes = int64(10+i), int64(i)*2_000_000, 100
		r.Observe(&o)
	}
	r.Gone = []*GoneStream{{Stream: Stream{Run: 7, Topic: "load"}, Seen: intervals.Of(intervals.Range{From: 1, To: 4})}}
	data, err := r.Snapshot(9)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(0), data)
	sent := &Sent{Test: testID, Producer: "p", Run: 7, Streams: []*SentStream{{Stream: Stream{Run: 7, Topic: "load"}, Reserved: 9, Next: 8, Control: new(uint64)}}, Previous: &Probe{Sent: 1, Acked: 2, Offset: 3}}
	sent.Streams[0].Ack(1, 2, 3)
	sent.Streams[0].Fail(2, "timeout")
	for kind, v := range map[byte]any{
		1: sent,
		2: &WindowEntry{Topic: "load", Partition: 1, Window: Window{Second: 7, Records: 1, Latency: latency.Sparse{{Micros: 5, Count: 1}}}},
		3: &Rate{Producer: "p", Second: 7, Topics: []TopicRate{{Topic: "load", Acked: 3}}},
	} {
		data, err := Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, data)
	}
	// A state with a hole where a stream should be.
	for kind, v := range map[byte]any{0: &Received{Gone: []*GoneStream{nil}}, 1: &Sent{Streams: []*SentStream{nil}}} {
		data, err := Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, data)
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		state := func() any { return []any{&Received{}, &Sent{}, &WindowEntry{}, &Rate{}}[kind%4] }
		v := state()
		before := allocated()
		err := Decode(data, v)
		if grown := allocated() - before; grown > uint64(16<<20+1000*len(data)) {
			t.Fatalf("%d bytes take %d of memory to read", len(data), grown)
		}
		if err != nil {
			if len(data) > 0 && data[0] != Version && !errors.Is(err, ErrVersion) {
				t.Fatalf("version %d: %v", data[0], err)
			}
			return
		}
		written, err := Encode(v)
		if err != nil {
			t.Fatalf("is read and cannot be written: %v", err)
		}
		again := state()
		if err := Decode(written, again); err != nil {
			t.Fatalf("is written and cannot be read: %v", err)
		}
		if a, b := canonical(t, v), canonical(t, again); !bytes.Equal(a, b) {
			t.Fatalf("is written as another state:\n%x\n%x", a, b)
		}
		switch v := v.(type) {
		case *Received:
			useReceived(t, v, written)
		case *Sent:
			for _, s := range v.Streams {
				s.Ack(1, 1, 1)
				s.Fail(2, "timeout")
				if !s.Acked.Contains(1) || !s.Failed["timeout"].Contains(2) {
					t.Fatal("what is noted is not there")
				}
			}
		}
	})
}

// useReceived does with a state what a consumer and the auditor do.
func useReceived(t *testing.T, r *Received, written []byte) {
	t.Helper()
	other, err := Restore(written)
	if err != nil {
		t.Fatal(err)
	}
	if r.Continues(other) && !r.Covers(other) || r.Supersedes(other) {
		t.Fatal("a state is not what it is")
	}
	if r.Next > math.MaxInt64-2 || r.Generation == math.MaxUint32 {
		return // no log is as long
	}
	next, records := r.Next, r.Records
	r.Observe(&Observation{Offset: next, At: 3_000_000, Kind: message.OK, ID: message.Identity{Producer: []byte("q"), Run: 1 << 60, Sequence: 1}})
	if r.Next != next+1 || r.Records != records+1 {
		t.Fatalf("a record at %d: next %d, %d records after %d", next, r.Next, r.Records, records)
	}
	r.Miss(next + 2)
	if r.Next != next+2 || !r.Unobserved.Contains(uint64(next+1)) {
		t.Fatal("what was missed is not noted")
	}
	back := r.RollBack(NewReceived(r.Test, r.Topic, r.TopicID, r.Partition, r.Writer, 0, 1))
	if !back.Supersedes(other) {
		t.Fatal("a state that was rolled back is superseded by the one before it")
	}
	var seen intervals.Set
	for _, s := range r.Streams {
		seen.Union(&s.Seen)
	}
	for _, g := range back.Gone {
		seen = seen.Minus(&g.Seen)
	}
	if !seen.Empty() {
		t.Fatal("what was seen is forgotten by rolling back")
	}
	if _, err := r.Snapshot(2); err != nil {
		t.Fatal(err)
	}
}

func TestStatesThatCannotBeAreRefused(t *testing.T) {
	for name, v := range map[string]any{
		"a stream that is missing":         &Received{Streams: []*ReceivedStream{nil}},
		"a gone stream that is missing":    &Received{Gone: []*GoneStream{nil}},
		"an offset below 0":                &Received{Next: -1},
		"a sent stream that is missing":    &Sent{Streams: []*SentStream{nil}},
		"failures that are missing":        &Sent{Streams: []*SentStream{{Failed: map[string]*intervals.Set{"timeout": nil}}}},
		"more used than there are numbers": &Sent{Streams: []*SentStream{{Reserved: 1 << 63}}},
	} {
		data, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		into := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := Decode(data, into); !errors.Is(err, ErrImpossible) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
