package message

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"
)

// Kind is what Decode made of a record.
type Kind uint8

const (
	// OK is a record of this test, exactly as it was sent.
	OK Kind = iota
	// Foreign is a valid record of another test.
	Foreign
	// Corrupt claims an identity, but the checksum or the length is wrong. Any part of the identity may be what was damaged,
	// also the test.
	Corrupt
	// NoValue is a record with a nil value (a tombstone) and none of our headers.
	NoValue
	// TooShort ends before the identity does.
	TooShort
	// NotOurs has neither our magic nor our headers.
	NotOurs
	// UnknownVersion has our magic and a version that this program does not know.
	UnknownVersion
	// BadFields has our magic, but producer id, sequence, time or partition cannot be read.
	BadFields
	// MissingHeaders has some of our headers and lacks others.
	MissingHeaders

	// NumKinds is how many kinds there are, for arrays indexed by Kind.
	NumKinds = int(MissingHeaders) + 1
)

var kindNames = [NumKinds]string{
	"ok", "foreign", "corrupt", "no_value", "too_short", "not_ours", "unknown_version", "bad_fields", "missing_headers",
}

// String returns a name fit for a metric's label, such as "bad_fields".
func (k Kind) String() string {
	if int(k) < NumKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint8(k))
}

// Identified says whether Decode found an identity: OK, Foreign and Corrupt. Only the first two prove it.
func (k Kind) Identified() bool { return k <= Corrupt }

// Decoder reads the records of one test, in either format. It is immutable and safe for concurrent use.
type Decoder struct {
	test uint64
}

// NewDecoder returns a decoder for the test with this id.
func NewDecoder(testID string) *Decoder { return &Decoder{test: TestHash(testID)} }

// Decode reads rec, which was produced to sourceTopic (at a destination rec.Topic may be another name), into id. When
// the kind is not Identified, id is the zero Identity. It never panics, allocates or writes to rec; id.Producer aliases rec.
func (d *Decoder) Decode(rec *kgo.Record, sourceTopic string, id *Identity) Kind {
	kind := d.decode(rec, sourceTopic, id)
	if !kind.Identified() {
		*id = Identity{}
	}
	return kind
}

func (d *Decoder) decode(rec *kgo.Record, sourceTopic string, id *Identity) Kind {
	var producer, sequence, intended, meta []byte
	at, metaHeader := -1, -1
	found := 0
	for i := range rec.Headers {
		h := &rec.Headers[i]
		if !strings.HasPrefix(h.Key, HeaderPrefix) {
			continue
		}
		found++
		switch h.Key {
		case HeaderID:
			producer = h.Value
		case HeaderSequence:
			sequence = h.Value
		case HeaderTimestamp:
			intended = h.Value
		case HeaderMeta:
			meta, metaHeader = h.Value, i
		}
	}
	if found > 0 {
		if producer == nil || sequence == nil || intended == nil || meta == nil {
			return MissingHeaders
		}
		if len(meta) < MetaSize {
			return TooShort
		}
		if !bytes.HasPrefix(meta, []byte(magic)) {
			return NotOurs
		}
		if meta[atVersion] != version {
			return UnknownVersion
		}
		if len(meta) > MetaSize {
			return BadFields
		}
	} else {
		value := rec.Value
		if value == nil {
			return NoValue
		}
		at = indexMagic(value[:min(len(value), maxReadable+len(magic))])
		if at < 0 {
			if len(value) < minRecord {
				return TooShort
			}
			return NotOurs
		}
		if len(value) < at+MetaSize {
			return TooShort
		}
		meta = value[at : at+MetaSize]
		if meta[atVersion] != version {
			return UnknownVersion
		}
		// Exactly three fields, each closed by ';'.
		var ok bool
		rest := value[:at]
		if producer, rest, ok = bytes.Cut(rest, []byte{';'}); !ok {
			return BadFields
		}
		if sequence, rest, ok = bytes.Cut(rest, []byte{';'}); !ok {
			return BadFields
		}
		if intended, rest, ok = bytes.Cut(rest, []byte{';'}); !ok || len(rest) > 0 {
			return BadFields
		}
	}

	var okSequence, okIntended bool
	id.Sequence, okSequence = parseUint(sequence)
	id.Intended, okIntended = parseInt(intended)
	id.Partition = int32(binary.BigEndian.Uint32(meta[atPartition:]))
	if !okSequence || !okIntended || id.Partition < 0 ||
		len(producer) == 0 || len(producer) > MaxProducerID || bytes.IndexByte(producer, ';') >= 0 {
		return BadFields
	}
	id.Producer = producer
	id.Test = binary.BigEndian.Uint64(meta[atTest:])
	id.Run = binary.BigEndian.Uint64(meta[atRun:])
	id.Epoch = binary.BigEndian.Uint32(meta[atEpoch:])

	if binary.BigEndian.Uint32(meta[atLength:]) != uint32(len(rec.Value)) ||
		binary.BigEndian.Uint64(meta[atChecksum:]) != checksum(rec, len(sourceTopic), xxh3.HashString(sourceTopic), payloadSum(rec.Value, at), at, metaHeader) {
		return Corrupt
	}
	if id.Test != d.test {
		return Foreign
	}
	return OK
}

// indexMagic is bytes.Index for the magic, in less time: hardly anything but the magic starts with its first byte.
func indexMagic(b []byte) int {
	for from := 0; ; from++ {
		i := bytes.IndexByte(b[from:], magic[0])
		if i < 0 {
			return -1
		}
		if from += i; bytes.HasPrefix(b[from:], []byte(magic)) {
			return from
		}
	}
}

// parseUint reads what strconv.AppendUint writes and nothing else: no sign, no leading zeros.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > maxDigits || (b[0] == '0' && len(b) > 1) {
		return 0, false
	}
	var n uint64
	for ; len(b) >= 8 && n < 1e10; b = b[8:] { // 20 digits at most: what follows may not fit
		eight, ok := parseEight(binary.LittleEndian.Uint64(b))
		if !ok {
			return 0, false
		}
		n = n*1e8 + eight
	}
	for _, c := range b {
		digit := uint64(c - '0')
		if digit > 9 || n > math.MaxUint64/10 || n*10 > math.MaxUint64-digit {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}

// parseEight reads eight decimal digits at once, the first of them in the lowest byte.
func parseEight(b uint64) (uint64, bool) {
	const zeros, high = 0x3030303030303030, 0xf0f0f0f0f0f0f0f0
	// A digit's high half is 3, and stays so when 6 is added.
	if b&high != zeros || (b+0x0606060606060606)&high != zeros {
		return 0, false
	}
	b = (b & 0x0f0f0f0f0f0f0f0f) * (10<<8 + 1) >> 8                // pairs
	b = (b & 0x00ff00ff00ff00ff) * (100<<16 + 1) >> 16             // fours
	return (b & 0x0000ffff0000ffff) * (10_000<<32 + 1) >> 32, true // all
}

// parseInt reads what strconv.AppendInt writes and nothing else.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || b[0] != '-' {
		n, ok := parseUint(b)
		return int64(n), ok && n <= math.MaxInt64
	}
	n, ok := parseUint(b[1:])
	return -int64(n), ok && n > 0 && n <= -math.MinInt64
}

// checksum hashes all of rec that must arrive, apart from the checksum's own bytes: they are in the value's meta, which
// starts at byte at, or, when at is negative, in the header with index metaHeader. topic is the XXH3 of the topic's name,
// payload is payloadSum of what follows meta, or of the whole value.
//
// It is a hash of hashes, so that a producer need not touch a payload again that it has hashed before. Every variable part
// counts with its length, and nil differs from empty, so that no two records feed the hash the same bytes.
func checksum(rec *kgo.Record, topicLen int, topic, payload uint64, at, metaHeader int) uint64 {
	var b [5*8 + maxReadable + atChecksum]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(at+1))
	binary.LittleEndian.PutUint32(b[4:], uint32(topicLen))
	binary.LittleEndian.PutUint32(b[8:], length(rec.Key))
	binary.LittleEndian.PutUint32(b[12:], length(rec.Value))
	binary.LittleEndian.PutUint64(b[16:], topic)
	binary.LittleEndian.PutUint64(b[24:], xxh3.Hash(rec.Key))
	binary.LittleEndian.PutUint64(b[32:], payload)
	if at >= 0 {
		n := copy(b[40:], rec.Value[:at+atChecksum])
		return xxh3.Hash(b[:40+n])
	}
	sum := xxh3.Hash(b[:40])
	for i := range rec.Headers {
		h := &rec.Headers[i]
		if !strings.HasPrefix(h.Key, HeaderPrefix) {
			continue
		}
		value := h.Value
		if i == metaHeader {
			value = value[:atChecksum]
		}
		binary.LittleEndian.PutUint32(b[0:], uint32(len(h.Key)))
		binary.LittleEndian.PutUint32(b[4:], length(h.Value))
		binary.LittleEndian.PutUint64(b[8:], sum)
		binary.LittleEndian.PutUint64(b[16:], xxh3.HashString(h.Key))
		binary.LittleEndian.PutUint64(b[24:], xxh3.Hash(value))
		sum = xxh3.Hash(b[:32])
	}
	return sum
}

// payloadSum hashes what stands in a value behind the identity.
func payloadSum(value []byte, at int) uint64 {
	if at >= 0 {
		value = value[at+MetaSize:]
	}
	return xxh3.Hash(value)
}

// length is len(b), or the largest number for nil.
func length(b []byte) uint32 {
	if b == nil {
		return math.MaxUint32
	}
	return uint32(len(b))
}
