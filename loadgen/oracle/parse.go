package oracle

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
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
	if len(meta) != 41 || string(meta[:5]) != "\x00kmt\x01" {
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

// checksum is the XXH64 of everything that must arrive, apart from itself: the
// last 8 bytes of meta, which stands in the value from byte at on, or in a
// header if at is negative.
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
	number(at + 1)
	number(len(topic))
	length(rec.Key)
	length(rec.Value)
	all = append(all, topic...)
	all = append(all, rec.Key...)
	if at >= 0 {
		all = append(all, rec.Value[:at+33]...)
		all = append(all, rec.Value[at+41:]...)
		return xxhash.Sum64(all)
	}
	all = append(all, rec.Value...)
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, "kmt-") {
			continue
		}
		number(len(h.Key))
		length(h.Value)
		all = append(all, h.Key...)
		if h.Key == "kmt-meta" {
			all = append(all, h.Value[:33]...)
		} else {
			all = append(all, h.Value...)
		}
	}
	return xxhash.Sum64(all)
}
