package message

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"
)

// Encoder fills records of one topic. It keeps no state between records and is safe for concurrent use.
type Encoder struct {
	format Format
	topic  string
	hash   uint64 // of topic
	filler *Filler
}

// NewEncoder returns an encoder of records for the source topic; filler fills what the identity leaves of a value.
func NewEncoder(format Format, topic string, filler *Filler) *Encoder {
	return &Encoder{format: format, topic: topic, hash: xxh3.HashString(topic), filler: filler}
}

// Payload remembers what of a record's value can stay as it is when the record is used again: all that follows the
// identity. It belongs to one record, to whose value nobody but EncodeAgain writes.
type Payload struct {
	// Offset in the filler, by which the payloads of different records differ. To be set before the first use.
	Offset uint64

	from, size int
	sum        uint64
}

// Size is the length of the value that was filled last.
func (p *Payload) Size() int { return p.size }

// Encode makes rec the record that id describes, with a value of size bytes, or of as many as the identity needs when
// size is smaller (see Format.MinSize). It allocates only when rec's buffers are too small.
//
// rec must be new or filled by Encode before and no longer in the client's hands: the memory of its Value and Headers is
// written over. rec.Key aliases key. Topic and Partition are set, so that a manual partitioner can be used; every other
// field is cleared, so the client stamps the time of sending.
//
// The producer id must satisfy ValidateProducerID and id.Partition must not be negative, or the record will not decode.
func (e *Encoder) Encode(rec *kgo.Record, id *Identity, key []byte, size int) {
	e.encode(rec, id, key, size, nil)
}

// EncodeAgain is Encode for a record that is used again and again. What follows the identity is filled and hashed only when
// it has to be: the first time, and when its place or the size has changed.
func (e *Encoder) EncodeAgain(rec *kgo.Record, id *Identity, key []byte, size int, payload *Payload) {
	e.encode(rec, id, key, size, payload)
}

func (e *Encoder) encode(rec *kgo.Record, id *Identity, key []byte, size int, payload *Payload) {
	value, headers := rec.Value[:0], rec.Headers[:0]
	had := cap(value)
	at := -1 // of meta in the value
	if e.format == FormatValue {
		value = slices.Grow(value, max(size, len(id.Producer)+maxReadable-MaxProducerID+MetaSize))
		value = append(value, id.Producer...)
		value = append(value, ';')
		value = strconv.AppendUint(value, id.Sequence, 10)
		value = append(value, ';')
		value = strconv.AppendInt(value, id.Intended, 10)
		value = append(value, ';')
		at = len(value)
		value = value[:at+MetaSize]
	} else if value == nil {
		value = []byte{} // a nil value is a tombstone
	}
	used := len(value)
	value = slices.Grow(value, max(size-used, 0))[:max(size, used)]
	var sum uint64
	if payload != nil && payload.from == used && payload.size == len(value) && cap(value) == had && had > 0 {
		sum = payload.sum
	} else {
		var offset uint64
		if payload != nil {
			offset = payload.Offset
		} else {
			// Following records of a stream take following parts of the filler, so that no part repeats within a batch.
			offset = id.Run + uint64(uint32(id.Partition))<<16 + id.Sequence*uint64(len(value))
		}
		e.filler.Fill(value[used:], offset)
		sum = payloadSum(value, at)
		if payload != nil {
			payload.from, payload.size, payload.sum = used, len(value), sum
		}
	}

	var meta []byte
	if e.format == FormatValue {
		meta = value[at : at+MetaSize]
	} else {
		headers = slices.Grow(headers, 4)[:4]
		h := &headers[0]
		h.Key, h.Value = HeaderID, append(h.Value[:0], id.Producer...)
		h = &headers[1]
		h.Key, h.Value = HeaderSequence, strconv.AppendUint(h.Value[:0], id.Sequence, 10)
		h = &headers[2]
		h.Key, h.Value = HeaderTimestamp, strconv.AppendInt(h.Value[:0], id.Intended, 10)
		h = &headers[3]
		h.Key, h.Value = HeaderMeta, slices.Grow(h.Value[:0], MetaSize)[:MetaSize]
		meta = h.Value
	}
	copy(meta, magic)
	meta[atVersion] = version
	binary.BigEndian.PutUint64(meta[atTest:], id.Test)
	binary.BigEndian.PutUint64(meta[atRun:], id.Run)
	binary.BigEndian.PutUint32(meta[atEpoch:], id.Epoch)
	binary.BigEndian.PutUint32(meta[atPartition:], uint32(id.Partition))
	binary.BigEndian.PutUint32(meta[atLength:], uint32(len(value)))

	*rec = kgo.Record{Key: key, Value: value, Headers: headers, Topic: e.topic, Partition: id.Partition}
	binary.BigEndian.PutUint64(meta[atChecksum:], checksum(rec, len(e.topic), e.hash, sum, at, 3))
}
