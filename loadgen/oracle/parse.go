package oracle

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"
)

// kind is what a record is.
type kind int

const (
	ours kind = iota
	foreign
	corrupt
	malformed
)

type identity struct {
	run       uint64
	epoch     uint32
	partition int32
	sequence  uint64
	intended  int64
}

func (id *identity) stream(topic string) StreamID {
	return StreamID{Topic: topic, Partition: id.partition, Run: id.run, Epoch: id.epoch}
}

// parse reads a record as package message documents the formats:
// "producer;sequence;time;" and 41 bytes of meta at the start of the value, or
// the four in headers.
func parse(rec *Record, topic, test string) (identity, kind) {
	var id identity
	var producer, sequence, intended, meta []byte
	headers := map[string]*Header{}
	for i := range rec.Headers {
		if strings.HasPrefix(rec.Headers[i].Key, "kmt-") {
			headers[rec.Headers[i].Key] = &rec.Headers[i]
		}
	}
	at := -1
	if len(headers) > 0 {
		for key, to := range map[string]*[]byte{"kmt-id": &producer, "kmt-seq": &sequence, "kmt-ts": &intended, "kmt-meta": &meta} {
			if headers[key] == nil || headers[key].Value == nil {
				return id, malformed
			}
			*to = headers[key].Value
		}
	} else {
		at = bytes.Index(rec.Value, []byte("\x00kmt"))
		if at < 0 || len(rec.Value) < at+41 {
			return id, malformed
		}
		fields := bytes.Split(rec.Value[:at], []byte(";"))
		if len(fields) != 4 || len(fields[3]) != 0 {
			return id, malformed
		}
		producer, sequence, intended, meta = fields[0], fields[1], fields[2], rec.Value[at:at+41]
	}
	if len(meta) != 41 || string(meta[:5]) != "\x00kmt\x02" {
		return id, malformed
	}
	if len(producer) == 0 || len(producer) > 64 || bytes.Contains(producer, []byte(";")) {
		return id, malformed
	}
	var err error
	if id.sequence, err = strconv.ParseUint(string(sequence), 10, 64); err != nil || strconv.FormatUint(id.sequence, 10) != string(sequence) {
		return id, malformed
	}
	if id.intended, err = strconv.ParseInt(string(intended), 10, 64); err != nil || strconv.FormatInt(id.intended, 10) != string(intended) {
		return id, malformed
	}
	testHash := binary.BigEndian.Uint64(meta[5:])
	id.run = binary.BigEndian.Uint64(meta[13:])
	id.epoch = binary.BigEndian.Uint32(meta[21:])
	id.partition = int32(binary.BigEndian.Uint32(meta[25:]))
	if id.partition < 0 {
		return id, malformed
	}
	if binary.BigEndian.Uint32(meta[29:]) != uint32(len(rec.Value)) || binary.BigEndian.Uint64(meta[33:]) != checksum(rec, topic, at) {
		return id, corrupt
	}
	if testHash != xxhash.Sum64String(test) {
		return id, foreign
	}
	return id, ours
}

// checksum is an XXH3 of everything that must arrive, apart from itself: the
// last 8 bytes of meta, which stands in the value from byte at on, or in a
// header if at is negative. Topic, key, payload and headers go in by their own
// hashes.
func checksum(rec *Record, topic string, at int) uint64 {
	var all []byte
	number := func(n int) { all = binary.LittleEndian.AppendUint32(all, uint32(n)) }
	length := func(b []byte) {
		if b == nil {
			number(-1)
			return
		}
		number(len(b))
	}
	hash := func(b []byte) { all = binary.LittleEndian.AppendUint64(all, xxh3.Hash(b)) }
	payload, head := rec.Value, []byte(nil)
	if at >= 0 {
		payload, head = rec.Value[at+41:], rec.Value[:at+33]
	}
	number(at + 1)
	number(len(topic))
	length(rec.Key)
	length(rec.Value)
	hash([]byte(topic))
	hash(rec.Key)
	hash(payload)
	all = append(all, head...)
	sum := xxh3.Hash(all)
	if at >= 0 {
		return sum
	}
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, "kmt-") {
			continue
		}
		all = nil
		number(len(h.Key))
		length(h.Value)
		all = binary.LittleEndian.AppendUint64(all, sum)
		hash([]byte(h.Key))
		if h.Key == "kmt-meta" {
			hash(h.Value[:33])
		} else {
			hash(h.Value)
		}
		sum = xxh3.Hash(all)
	}
	return sum
}
