// Package message writes and reads the records of a replication test.
//
// Every record says who it is (Identity) and carries a checksum over everything that a replicator must keep: the source
// topic, the key, our headers, the whole value and its length. A record that decodes as OK arrived as it was sent.
//
// There are two formats. FormatValue keeps everything in the value, the first part readable with kcat:
//
//	producer-1;42;1700000000000000;<meta><filler>
//
// FormatHeaders keeps the identity in headers whose keys start with "kmt-", so that the fidelity of headers is tested,
// and the value is filler only:
//
//	kmt-id: producer-1, kmt-seq: 42, kmt-ts: 1700000000000000, kmt-meta: <meta>
//
// <meta> is MetaSize bytes, integers big endian: magic "\0kmt" (4), version (1), test (8), run (8), epoch (4),
// partition (4), length of the value (4), checksum (8).
//
// The checksum is an XXH3 of the identity and of the hashes of topic, key and payload (see checksum).
package message

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Identity is what a record says of itself. A stream is (Test, Producer, Run, topic, Epoch, Partition); Run is random, so
// (Run, topic, Epoch, Partition) names a stream well enough as a map key.
type Identity struct {
	// Test is TestHash of the test's id.
	Test uint64
	// Producer is the producer's id. After Decode it aliases the record's memory: copy it to keep it.
	Producer []byte
	// Run is drawn at random when a producer starts.
	Run uint64
	// Epoch counts the changes of the topic's number of partitions that this run has seen.
	Epoch uint32
	// Partition is the partition of the source topic; never negative.
	Partition int32
	// Sequence counts the stream's records, from 0.
	Sequence uint64
	// Intended is when the schedule wanted the record sent, in microseconds since 1970.
	Intended int64
}

// TestHash is how a test's id is written into records: its XXH64.
func TestHash(testID string) uint64 { return xxhash.Sum64String(testID) }

// Format is where a record carries its identity.
type Format int

const (
	// FormatValue carries the identity at the start of the value.
	FormatValue Format = iota
	// FormatHeaders carries the identity in headers; the value is filler only.
	FormatHeaders
)

// String returns "value" or "headers".
func (f Format) String() string {
	switch f {
	case FormatValue:
		return "value"
	case FormatHeaders:
		return "headers"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// MinSize is the smallest message size, in bytes of value, that fits the identity of any record of this producer,
// however large sequence and time become. With FormatHeaders it is 0: the identity is not in the value.
func (f Format) MinSize(producerID string) int {
	if f == FormatHeaders {
		return 0
	}
	return len(producerID) + 1 + maxDigits + 1 + maxDigits + 1 + MetaSize
}

// Keys of the headers that FormatHeaders writes, in this order.
const (
	// HeaderPrefix starts the key of every header of ours. Other headers are ignored when reading, since replicators
	// may add their own.
	HeaderPrefix    = "kmt-"
	HeaderID        = HeaderPrefix + "id"
	HeaderSequence  = HeaderPrefix + "seq"
	HeaderTimestamp = HeaderPrefix + "ts"
	HeaderMeta      = HeaderPrefix + "meta"
)

// MetaSize is the length in bytes of the binary part of a record's identity.
const MetaSize = 41

// MaxProducerID is the largest length of a producer's id in bytes.
const MaxProducerID = 64

const (
	version   = 2
	maxDigits = 20 // 18446744073709551615 and -9223372036854775808

	// The magic starts with a byte that no producer id can contain.
	magic = "\x00kmt"

	// Offsets in meta.
	atVersion   = len(magic)
	atTest      = atVersion + 1
	atRun       = atTest + 8
	atEpoch     = atRun + 8
	atPartition = atEpoch + 4
	atLength    = atPartition + 4
	atChecksum  = atLength + 4

	maxReadable = MaxProducerID + 1 + maxDigits + 1 + maxDigits + 1
	minRecord   = len("p;0;0;") + MetaSize
)

// ValidateProducerID says whether id can be written into records: 1 to MaxProducerID bytes of printable UTF-8 without ';'.
func ValidateProducerID(id string) error {
	switch {
	case id == "":
		return errors.New(`producer id "" is empty: use a name such as producer-1`)
	case len(id) > MaxProducerID:
		return fmt.Errorf("producer id %q has %d bytes: use at most %d", id, len(id), MaxProducerID)
	case strings.Contains(id, ";"):
		return fmt.Errorf("producer id %q contains ';', which separates the fields of a record: use another character", id)
	case !utf8.ValidString(id):
		return fmt.Errorf("producer id %q is not valid UTF-8: use printable characters", id)
	}
	for _, r := range id {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("producer id %q contains the unprintable character %q: use printable characters", id, r)
		}
	}
	return nil
}
