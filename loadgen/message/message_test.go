package message

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	testID = "test-1"
	topic  = "orders"
)

var formats = []Format{FormatValue, FormatHeaders}

func newFiller(t testing.TB) *Filler {
	t.Helper()
	f, err := NewFiller(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func someIdentity() *Identity {
	return &Identity{Test: TestHash(testID), Producer: []byte("producer-1"), Run: 0xabcdef0123456789, Epoch: 3,
		Partition: 149, Sequence: 4242, Intended: 1_800_000_000_123_456}
}

func newRecord(t testing.TB, format Format, id *Identity, key []byte, size int) *kgo.Record {
	t.Helper()
	var rec kgo.Record
	NewEncoder(format, topic, newFiller(t)).Encode(&rec, id, key, size)
	return &rec
}

func clone(rec *kgo.Record) *kgo.Record {
	c := *rec
	c.Key, c.Value, c.Headers = bytes.Clone(rec.Key), bytes.Clone(rec.Value), slices.Clone(rec.Headers)
	for i, h := range c.Headers {
		c.Headers[i].Value = bytes.Clone(h.Value)
	}
	return &c
}

func decode(rec *kgo.Record) (Kind, Identity) {
	id := Identity{Producer: []byte("left over from the record before"), Sequence: 99}
	kind := NewDecoder(testID).Decode(rec, topic, &id)
	return kind, id
}

func expect(t *testing.T, rec *kgo.Record, want Kind, what string, args ...any) {
	t.Helper()
	kind, id := decode(rec)
	if kind != want {
		t.Errorf("%s: decoded as %v, want %v (value %.60q)", fmt.Sprintf(what, args...), kind, want, rec.Value)
	}
	if !kind.Identified() && !reflect.DeepEqual(id, Identity{}) {
		t.Errorf("%s: decoded as %v, yet with identity %+v", fmt.Sprintf(what, args...), kind, id)
	}
}

func damaged(kind Kind) bool { return kind != OK && kind != Foreign }

func TestReadableForm(t *testing.T) {
	id := someIdentity()
	if rec := newRecord(t, FormatValue, id, nil, 1000); !bytes.HasPrefix(rec.Value, []byte("producer-1;4242;1800000000123456;\x00kmt\x02")) {
		t.Errorf("value starts with %q", rec.Value[:60])
	} else if len(rec.Value) != 1000 || len(rec.Headers) != 0 {
		t.Errorf("%d bytes of value, %d headers", len(rec.Value), len(rec.Headers))
	}
	rec := newRecord(t, FormatHeaders, id, nil, 1000)
	var text []string
	for _, h := range rec.Headers[:3] {
		text = append(text, h.Key+"="+string(h.Value))
	}
	if got := strings.Join(text, " "); got != "kmt-id=producer-1 kmt-seq=4242 kmt-ts=1800000000123456" || len(rec.Headers) != 4 || len(rec.Headers[3].Value) != MetaSize {
		t.Errorf("headers %s, %d in all", got, len(rec.Headers))
	}
	if len(rec.Value) != 1000 || bytes.Contains(rec.Value, []byte("producer-1")) {
		t.Errorf("value of %d bytes: %q", len(rec.Value), rec.Value[:60])
	}
}

// Decoding is part of the contract between processes of different builds: a change of the bytes needs a new version.
func TestBytesAreStable(t *testing.T) {
	filler, err := NewFiller(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{Test: TestHash("abc"), Producer: []byte("p"), Run: 1, Epoch: 2, Partition: 3, Sequence: 4, Intended: 5}
	var rec kgo.Record
	NewEncoder(FormatValue, "t", filler).Encode(&rec, id, []byte("k"), 50)
	const want = "p;4;5;\x00kmt\x02" + "\x44\xbc\x2c\xf5\xad\x77\x09\x99" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x02" + "\x00\x00\x00\x03" + "\x00\x00\x00\x32"
	if got := rec.Value[:len(want)]; string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := fmt.Sprintf("%x", rec.Value[len(want):len(want)+8]); got != "1c59d465129685c0" {
		t.Errorf("value format: checksum %s", got)
	}
	if got := string(rec.Value[len(want)+8:]); got != "..." {
		t.Errorf("filler %q", got)
	}
	NewEncoder(FormatHeaders, "t", filler).Encode(&rec, id, []byte("k"), 50)
	if got := rec.Headers[3].Value; string(got[:atLength]) != want[6:6+atLength] || fmt.Sprintf("%x", got[atChecksum:]) != "d985615a23bf9be2" {
		t.Errorf("header format: meta %q, checksum %x", got[:atChecksum], got[atChecksum:])
	}
}

// Whatever is encoded is read back, whatever the record held before.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	encoders := []*Encoder{NewEncoder(FormatValue, topic, newFiller(t)), NewEncoder(FormatHeaders, topic, newFiller(t))}
	decoder := NewDecoder(testID)
	edge := []uint64{0, 1, 9, 10, math.MaxInt64, 1 << 63, math.MaxUint64}
	number := func() uint64 {
		if rng.IntN(3) == 0 {
			return edge[rng.IntN(len(edge))]
		}
		return rng.Uint64() >> rng.IntN(64)
	}
	var rec kgo.Record
	for i := range 20_000 {
		in := Identity{Test: TestHash(testID), Producer: []byte(strings.Repeat("é-1_ x.:,", 8)[:1+rng.IntN(MaxProducerID)]), Run: number(),
			Epoch: uint32(number()), Partition: int32(number() & math.MaxInt32), Sequence: number(), Intended: int64(number())}
		var key []byte
		if rng.IntN(4) > 0 {
			key = make([]byte, rng.IntN(40))
		}
		size := rng.IntN(1500)
		format := rng.IntN(2)
		encoders[format].Encode(&rec, &in, key, size)
		var out Identity
		if kind := decoder.Decode(&rec, topic, &out); kind != OK || !reflect.DeepEqual(in, out) {
			t.Fatalf("round %d, size %d, %v: %v\n in %+v\nout %+v", i, size, formats[format], kind, in, out)
		}
		if len(rec.Value) != size && (format == 1 || len(rec.Value) < size || len(rec.Value) > formats[format].MinSize(string(in.Producer))) {
			t.Fatalf("round %d: value has %d bytes, want %d", i, len(rec.Value), size)
		}
		if rec.Topic != topic || rec.Partition != in.Partition || (rec.Key == nil) != (key == nil) || rec.Value == nil {
			t.Fatalf("round %d: topic %q, partition %d, key %v, value %v", i, rec.Topic, rec.Partition, rec.Key, rec.Value)
		}
	}
}

func TestEncodeClearsWhatTheClientLeft(t *testing.T) {
	rec := newRecord(t, FormatHeaders, someIdentity(), []byte("key"), 1000)
	rec.Timestamp, rec.Offset, rec.LeaderEpoch, rec.ProducerID, rec.Context = time.Now(), 7, 7, 7, context.Background()
	NewEncoder(FormatValue, topic, newFiller(t)).Encode(rec, someIdentity(), nil, 100)
	if want := newRecord(t, FormatValue, someIdentity(), nil, 100); rec.Key != nil || len(rec.Headers) != 0 || !bytes.Equal(rec.Value, want.Value) ||
		!rec.Timestamp.IsZero() || rec.Offset != 0 || rec.LeaderEpoch != 0 || rec.ProducerID != 0 || rec.Context != nil {
		t.Errorf("left over: %+v", rec)
	}
	expect(t, rec, OK, "a record used again")
}

func TestMinSizeFitsEveryRecord(t *testing.T) {
	largest := someIdentity()
	largest.Sequence, largest.Intended = math.MaxUint64, math.MinInt64
	for _, producer := range []string{"p", "producer-1", strings.Repeat("x", MaxProducerID)} {
		largest.Producer = []byte(producer)
		size := FormatValue.MinSize(producer)
		for _, id := range []*Identity{largest, {Test: TestHash(testID), Producer: largest.Producer}} {
			rec := newRecord(t, FormatValue, id, nil, size)
			if len(rec.Value) != size {
				t.Errorf("%d bytes of value, want MinSize %d", len(rec.Value), size)
			}
			expect(t, rec, OK, "MinSize")
		}
		if rec := newRecord(t, FormatValue, largest, nil, size-1); len(rec.Value) != size {
			t.Errorf("MinSize %d is not the smallest: %d bytes do", size, len(rec.Value))
		}
	}
	rec := newRecord(t, FormatHeaders, largest, nil, FormatHeaders.MinSize("producer-1"))
	if len(rec.Value) != 0 {
		t.Errorf("%d bytes of value", len(rec.Value))
	}
	expect(t, rec, OK, "headers without a value")
	rec = newRecord(t, FormatValue, largest, nil, -5)
	expect(t, rec, OK, "a size below the smallest")
}

func TestLargeRecords(t *testing.T) {
	for _, format := range formats {
		for _, size := range []int{1<<20 - 1, 1 << 20, 1<<20 + 1, fillerBlock + 1, 10_000_000} {
			rec := newRecord(t, format, someIdentity(), []byte("k"), size)
			if len(rec.Value) != size {
				t.Errorf("%v: %d bytes, want %d", format, len(rec.Value), size)
			}
			expect(t, rec, OK, "%v, %d bytes", format, size)
			rec.Value[size-1] ^= 1
			expect(t, rec, Corrupt, "%v, %d bytes, the last changed", format, size)
		}
	}
}

// samples are small records of all shapes.
func samples(t *testing.T) map[string]*kgo.Record {
	all := map[string]*kgo.Record{}
	for _, format := range formats {
		for _, key := range [][]byte{nil, {}, []byte("k"), []byte("a key, a long one")} {
			for _, size := range []int{0, 1, 100, 200} {
				id := someIdentity()
				if size == 1 {
					id.Producer, id.Sequence, id.Intended, id.Partition = []byte("p"), 0, 0, 0
				}
				rec := newRecord(t, format, id, key, size)
				expect(t, rec, OK, "a sample")
				all[fmt.Sprintf("%v, key %q (nil %v), size %d", format, key, key == nil, size)] = rec
			}
		}
	}
	return all
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for name, rec := range samples(t) {
		rec = clone(rec)
		rec.Headers = append([]kgo.RecordHeader{{Key: "other", Value: []byte("x")}}, rec.Headers...)
		flip := func(b []byte, what string) {
			for bit := range 8 * len(b) {
				b[bit/8] ^= 1 << (bit % 8)
				if kind, _ := decode(rec); !damaged(kind) {
					t.Errorf("%s: decoded as %v with bit %d of the %s flipped", name, kind, bit, what)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		}
		flip(rec.Key, "key")
		flip(rec.Value, "value")
		for i := 1; i < len(rec.Headers); i++ {
			h := &rec.Headers[i]
			flip(h.Value, h.Key)
			good := h.Key
			for bit := range 8 * len(good) {
				changed := []byte(good)
				changed[bit/8] ^= 1 << (bit % 8)
				h.Key = string(changed)
				if kind, _ := decode(rec); !damaged(kind) {
					t.Errorf("%s: decoded as %v with header %q instead of %q", name, kind, h.Key, good)
				}
			}
			h.Key = good
		}
		expect(t, rec, OK, "%s: after all", name)
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	for name, rec := range samples(t) {
		whole := clone(rec)
		for n := range whole.Value {
			rec.Value = whole.Value[:n]
			if kind, _ := decode(rec); !damaged(kind) {
				t.Errorf("%s: decoded as %v with %d of %d bytes", name, kind, n, len(whole.Value))
			}
		}
		rec.Value = append(bytes.Clone(whole.Value), 0)
		if kind, _ := decode(rec); !damaged(kind) {
			t.Errorf("%s: decoded as %v with a byte more", name, kind)
		}
		rec.Value = whole.Value
		for n := range whole.Key {
			rec.Key = whole.Key[:n]
			expect(t, rec, Corrupt, "%s: %d bytes of key", name, n)
		}
		rec.Key = whole.Key
		for i := range rec.Headers {
			for n := range whole.Headers[i].Value {
				rec.Headers[i].Value = whole.Headers[i].Value[:n]
				if kind, _ := decode(rec); !damaged(kind) {
					t.Errorf("%s: decoded as %v with %d bytes of %s", name, kind, n, rec.Headers[i].Key)
				}
			}
			rec.Headers[i].Value = append(bytes.Clone(whole.Headers[i].Value), 0)
			if kind, _ := decode(rec); !damaged(kind) {
				t.Errorf("%s: decoded as %v with a byte more of %s", name, kind, rec.Headers[i].Key)
			}
			rec.Headers[i].Value = whole.Headers[i].Value
		}
		expect(t, rec, OK, "%s: after all", name)
	}
}

func TestNilIsNotEmpty(t *testing.T) {
	for _, format := range formats {
		rec := newRecord(t, format, someIdentity(), nil, 0)
		rec.Key = []byte{}
		expect(t, rec, Corrupt, "%v: key became empty", format)
		rec = newRecord(t, format, someIdentity(), []byte{}, 0)
		rec.Key = nil
		expect(t, rec, Corrupt, "%v: key became nil", format)
	}
	rec := newRecord(t, FormatHeaders, someIdentity(), nil, 0)
	rec.Value = nil
	expect(t, rec, Corrupt, "headers: value became nil")
}

func TestBytesThatMoveAreFound(t *testing.T) {
	for _, format := range formats {
		rec := newRecord(t, format, someIdentity(), []byte("key"), 200)
		var id Identity
		for _, other := range []string{"", "order", "orders2", topic + "key"} {
			if kind := NewDecoder(testID).Decode(rec, other, &id); kind != Corrupt {
				t.Errorf("%v: topic %q: %v", format, other, kind)
			}
		}
		// A byte that goes from the key to the end of the topic.
		rec.Key = []byte("ey")
		if kind := NewDecoder(testID).Decode(rec, topic+"k", &id); kind != Corrupt {
			t.Errorf("%v: a byte moved from key to topic: %v", format, kind)
		}
	}
}

func TestHeaderFidelity(t *testing.T) {
	whole := newRecord(t, FormatHeaders, someIdentity(), []byte("key"), 200)
	change := func(f func(h []kgo.RecordHeader) []kgo.RecordHeader) *kgo.Record {
		rec := clone(whole)
		rec.Headers = f(rec.Headers)
		return rec
	}
	for i, h := range whole.Headers {
		expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader { return slices.Delete(all, i, i+1) }), MissingHeaders, "without %s", h.Key)
		expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader { return append(all, all[i]) }), Corrupt, "%s twice", h.Key)
		expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader { all[i].Value = nil; return all }), MissingHeaders, "%s without a value", h.Key)
		for j := range i {
			expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader { all[i], all[j] = all[j], all[i]; return all }), Corrupt, "%s and %s swapped", h.Key, whole.Headers[j].Key)
		}
		for _, other := range []string{"", "kmt", "KMT-id", "x-kmt-id", "__copycat"} {
			header := kgo.RecordHeader{Key: other, Value: []byte("us-east-1")}
			expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader { return slices.Insert(all, i, header) }), OK, "a replicator's header %q", other)
		}
	}
	expect(t, change(func(all []kgo.RecordHeader) []kgo.RecordHeader {
		return append(all, kgo.RecordHeader{Key: "kmt-x", Value: []byte{}})
	}), Corrupt, "another header with our prefix")
	expect(t, change(func([]kgo.RecordHeader) []kgo.RecordHeader { return nil }), NotOurs, "without headers")

	rec := newRecord(t, FormatValue, someIdentity(), nil, 200)
	rec.Headers = []kgo.RecordHeader{{Key: "other", Value: []byte("x")}}
	expect(t, rec, OK, "value format with a replicator's header")
	rec.Headers = []kgo.RecordHeader{{Key: "kmt-x", Value: []byte("x")}}
	expect(t, rec, MissingHeaders, "value format with a header with our prefix")
}

func TestCorruptFillsTheClaim(t *testing.T) {
	for _, format := range formats {
		rec := newRecord(t, format, someIdentity(), []byte("key"), 200)
		rec.Value[199] ^= 1
		kind, id := decode(rec)
		if kind != Corrupt || !reflect.DeepEqual(&id, someIdentity()) {
			t.Errorf("%v: %v, %+v", format, kind, id)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, format := range formats {
		id := someIdentity()
		id.Test = TestHash("another test")
		rec := newRecord(t, format, id, nil, 200)
		kind, got := decode(rec)
		if kind != Foreign || got.Test != id.Test || got.Sequence != id.Sequence {
			t.Errorf("%v: %v, %+v", format, kind, got)
		}
		rec.Value[199] ^= 1
		expect(t, rec, Corrupt, "%v: a damaged record of another test", format)
	}
}

func TestMalformedKinds(t *testing.T) {
	whole := string(newRecord(t, FormatValue, someIdentity(), nil, 200).Value)
	at := strings.Index(whole, magic)
	meta := whole[at:]
	for _, test := range []struct {
		name  string
		value string
		want  Kind
	}{
		{"nothing", "", TooShort},
		{"a word", "hello", TooShort},
		{"cut in the id", whole[:4], TooShort},
		{"cut after the id", whole[:11], TooShort},
		{"cut before the magic", whole[:at], TooShort},
		{"cut in the magic", whole[:at+2], TooShort},
		{"cut after the magic", whole[:at+4], TooShort},
		{"cut in the checksum", whole[:at+MetaSize-1], TooShort},
		{"cut after the checksum", whole[:at+MetaSize], Corrupt},
		{"something else", strings.Repeat("something else; ", 10), NotOurs},
		{"zeros", strings.Repeat("\x00", 200), NotOurs},
		{"semicolons", strings.Repeat(";", 200), NotOurs},
		{"magic too far inside", strings.Repeat("x", maxReadable+1) + meta, NotOurs},
		{"version 0", whole[:at+4] + "\x00" + whole[at+5:], UnknownVersion},
		{"version 1", whole[:at+4] + "\x01" + whole[at+5:], UnknownVersion},
		{"no fields", meta, BadFields},
		{"one field", "producer-1;" + meta, BadFields},
		{"two fields", "producer-1;1;" + meta, BadFields},
		{"four fields", "producer-1;1;2;3;" + meta, BadFields},
		{"no last semicolon", "producer-1;1;2" + meta, BadFields},
		{"a semicolon in the id", "producer;1;1;2;" + meta, BadFields},
		{"a semicolon before the id", ";producer-1;1;2;" + meta, BadFields},
		{"a semicolon after the id", "producer-1;;1;2;" + meta, BadFields},
		{"a semicolon at the end", "producer-1;1;2;;" + meta, BadFields},
		{"semicolons and the magic", ";;;" + meta, BadFields},
		{"empty id", ";1;2;" + meta, BadFields},
		{"long id", strings.Repeat("x", MaxProducerID+1) + ";1;2;" + meta, BadFields},
		{"longest id", strings.Repeat("x", MaxProducerID) + ";1;2;" + meta, Corrupt},
		{"empty sequence", "p;;2;" + meta, BadFields},
		{"empty time", "p;1;;" + meta, BadFields},
		{"negative sequence", "p;-1;2;" + meta, BadFields},
		{"negative time", "p;1;-2;" + meta, Corrupt},
		{"minus zero", "p;1;-0;" + meta, BadFields},
		{"only a minus", "p;1;-;" + meta, BadFields},
		{"plus", "p;+1;2;" + meta, BadFields},
		{"leading zero", "p;01;2;" + meta, BadFields},
		{"leading zero in the time", "p;1;02;" + meta, BadFields},
		{"space", "p; 1;2;" + meta, BadFields},
		{"letter", "p;1a;2;" + meta, BadFields},
		{"byte before 0", "p;1/;2;" + meta, BadFields},
		{"byte after 9", "p;1:;2;" + meta, BadFields},
		{"underscore", "p;1_0;2;" + meta, BadFields},
		{"fraction", "p;1.5;2;" + meta, BadFields},
		{"largest sequence", "p;18446744073709551615;2;" + meta, Corrupt},
		{"sequence too large", "p;18446744073709551616;2;" + meta, BadFields},
		{"sequence far too large", "p;99999999999999999999;2;" + meta, BadFields},
		{"sequence too long", "p;100000000000000000000;2;" + meta, BadFields},
		{"largest time", "p;1;9223372036854775807;" + meta, Corrupt},
		{"time too large", "p;1;9223372036854775808;" + meta, BadFields},
		{"smallest time", "p;1;-9223372036854775808;" + meta, Corrupt},
		{"time too small", "p;1;-9223372036854775809;" + meta, BadFields},
		{"semicolons in the filler", whole + ";;1;2;", Corrupt},
		{"two records", whole + whole, Corrupt},
		{"negative partition", whole[:at+atPartition] + "\xff" + whole[at+atPartition+1:], BadFields},
	} {
		expect(t, &kgo.Record{Value: []byte(test.value)}, test.want, "%s", test.name)
	}
	expect(t, &kgo.Record{}, NoValue, "tombstone")
	expect(t, &kgo.Record{Headers: []kgo.RecordHeader{{Key: "other"}}}, NoValue, "tombstone with a header of others")
	expect(t, &kgo.Record{Headers: []kgo.RecordHeader{{Key: HeaderMeta}}}, MissingHeaders, "tombstone with a header of ours")

	header := func(id, sequence, ts, meta string) *kgo.Record {
		return &kgo.Record{Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: HeaderID, Value: []byte(id)}, {Key: HeaderSequence, Value: []byte(sequence)},
			{Key: HeaderTimestamp, Value: []byte(ts)}, {Key: HeaderMeta, Value: []byte(meta)}}}
	}
	meta = meta[:MetaSize]
	for _, test := range []struct {
		name string
		rec  *kgo.Record
		want Kind
	}{
		{"wrong checksum", header("p", "1", "2", meta), Corrupt},
		{"short meta", header("p", "1", "2", meta[:MetaSize-1]), TooShort},
		{"empty meta", header("p", "1", "2", ""), TooShort},
		{"long meta", header("p", "1", "2", meta+"x"), BadFields},
		{"no magic", header("p", "1", "2", "x"+meta[1:]), NotOurs},
		{"version", header("p", "1", "2", meta[:4]+"\x07"+meta[5:]), UnknownVersion},
		{"long meta of another version", header("p", "1", "2", meta[:4]+"\x07"+meta), UnknownVersion},
		{"empty id", header("", "1", "2", meta), BadFields},
		{"long id", header(strings.Repeat("x", MaxProducerID+1), "1", "2", meta), BadFields},
		{"semicolon in the id", header("p;1", "1", "2", meta), BadFields},
		{"sequence", header("p", "-1", "2", meta), BadFields},
		{"time", header("p", "1", "2;", meta), BadFields},
		{"negative partition", header("p", "1", "2", meta[:atPartition]+"\x80"+meta[atPartition+1:]), BadFields},
	} {
		expect(t, test.rec, test.want, "headers: %s", test.name)
	}
}

// A negative partition is refused even when the checksum is right: nobody shall use it as an index.
func TestNegativePartition(t *testing.T) {
	for _, format := range formats {
		id := someIdentity()
		id.Partition = -1
		expect(t, newRecord(t, format, id, nil, 200), BadFields, "%v", format)
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	identified := 0
	for k := range Kind(NumKinds) {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d has the name %q", k, name)
		} else {
			seen[name] = true
		}
		if k.Identified() {
			identified++
		}
	}
	if identified != 3 || !OK.Identified() || !Foreign.Identified() || !Corrupt.Identified() {
		t.Errorf("%d kinds are identified", identified)
	}
	if got := Kind(200).String(); got != "kind_200" {
		t.Errorf("unknown kind: %q", got)
	}
}

func TestValidateProducerID(t *testing.T) {
	for _, id := range []string{"p", "producer-1", "a b", "Züri-0", "10.0.0.1:9092/x,y", strings.Repeat("x", MaxProducerID)} {
		if err := ValidateProducerID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ";", "a;b", "a\x00b", "a\nb", "a\x7f", "\xff", "a\u200bb", strings.Repeat("x", MaxProducerID+1)} {
		if err := ValidateProducerID(id); err == nil || !strings.Contains(err.Error(), strconv.Quote(id)) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// What is a legal id for a producer is always read back.
func TestValidIDsRoundTrip(t *testing.T) {
	for _, format := range formats {
		for _, producer := range []string{"p", "a b", "Züri-0", strings.Repeat("é", MaxProducerID/2)} {
			id := someIdentity()
			id.Producer = []byte(producer)
			expect(t, newRecord(t, format, id, nil, 0), OK, "%v: %q", format, producer)
		}
	}
}

func TestNothingIsAllocatedPerRecord(t *testing.T) {
	decoder := NewDecoder(testID)
	for _, format := range formats {
		encoder := NewEncoder(format, topic, newFiller(t))
		id, key := someIdentity(), []byte("key")
		rec := newRecord(t, format, id, key, 1000)
		if n := testing.AllocsPerRun(100, func() { encoder.Encode(rec, id, key, 1000); id.Sequence++ }); n != 0 {
			t.Errorf("%v: Encode allocates %v times", format, n)
		}
		var out Identity
		for _, value := range [][]byte{rec.Value, rec.Value[:999], rec.Value[:20], nil} {
			damaged := *rec
			damaged.Value = value
			if n := testing.AllocsPerRun(100, func() { decoder.Decode(&damaged, topic, &out) }); n != 0 {
				t.Errorf("%v, %d bytes: Decode allocates %v times", format, len(value), n)
			}
		}
	}
}

// Records go through the client and the protocol as they are: nil and empty keys and values stay what they are.
func TestThroughKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()

	var sent []*kgo.Record
	for _, format := range formats {
		for _, key := range [][]byte{nil, {}, []byte("key")} {
			for _, size := range []int{0, 1000, 500_000} {
				id := someIdentity()
				id.Partition, id.Sequence = int32(len(sent)%4), uint64(len(sent))
				sent = append(sent, newRecord(t, format, id, key, size))
			}
		}
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for len(seen) < len(sent) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records read: %v", len(seen), len(sent), err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			kind, id := decode(rec)
			if kind != OK || id.Partition != rec.Partition || seen[id.Sequence] {
				t.Errorf("offset %d of partition %d: %v, %+v", rec.Offset, rec.Partition, kind, id)
			}
			seen[id.Sequence] = true
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range formats {
		b.Run(format.String(), func(b *testing.B) {
			encoder := NewEncoder(format, topic, newFiller(b))
			id, key := someIdentity(), []byte("12345")
			var rec kgo.Record
			var payload Payload
			b.SetBytes(1000)
			b.ReportAllocs()
			for b.Loop() {
				id.Sequence++
				encoder.EncodeAgain(&rec, id, key, 1000, &payload)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, format := range formats {
		b.Run(format.String(), func(b *testing.B) {
			decoder := NewDecoder(testID)
			rec := newRecord(b, format, someIdentity(), []byte("12345"), 1000)
			var id Identity
			b.SetBytes(1000)
			b.ReportAllocs()
			for b.Loop() {
				if kind := decoder.Decode(rec, topic, &id); kind != OK {
					b.Fatal(kind)
				}
			}
		})
	}
}
