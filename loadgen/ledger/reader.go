package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
)

// Entry is one complete entry of a ledger.
type Entry struct {
	Key     Key
	Payload []byte
	Offset  int64 // of the record that closes the entry
	// Appended is when that record was appended, in Unix microseconds with the
	// broker's precision of a millisecond. It is 0 unless AppendedIsBroker: the
	// topic stamps records with the broker's clock.
	Appended         int64
	AppendedIsBroker bool
}

// EntryError says that an entry is damaged or incomplete and that nothing
// newer has replaced it. What was read of the key before still stands.
type EntryError struct {
	Key    string
	Offset int64 // of the record that closes the entry
	Err    error
}

// Error implements error.
func (e *EntryError) Error() string {
	return fmt.Sprintf("ledger entry %s at offset %d: %v", e.Key, e.Offset, e.Err)
}

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }

// Reasons of an EntryError.
var (
	ErrTruncated = errors.New("the entry is incomplete")
	ErrCorrupt   = errors.New("the entry is damaged")
)

// ErrReplaced is wrapped by ReadToEnd when the ledger topic was deleted or lost
// records: what it held is no longer known to be complete. The next call reads
// from its start.
var ErrReplaced = errors.New("the ledger topic is not what it was")

// ReaderConfig says what to read.
type ReaderConfig struct {
	Opts  []kgo.Opt // how to reach the cluster
	Topic string    // SourceTopic or DestinationTopic
	Test  string    // entries of other tests are passed over; empty: all tests
	Kinds []string  // empty: all kinds
}

// Reader reads the entries of a ledger topic in the order in which they were
// completed. It is not safe for concurrent use.
type Reader struct {
	cfg    ReaderConfig
	client *kgo.Client

	id     [16]byte
	next   int64                     // -1: the start of the log
	chunks map[string]map[int][]byte // by key and slot, until a manifest takes them
	bad    map[string]*EntryError    // by key
}

// NewReader returns a reader that stands at the start of the ledger.
func NewReader(cfg ReaderConfig) (*Reader, error) {
	client, err := kgo.NewClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("ledger %s: client options: %w", cfg.Topic, err)
	}
	r := &Reader{cfg: cfg, client: client}
	r.rewind()
	return r, nil
}

func (r *Reader) rewind() {
	r.id, r.next = [16]byte{}, -1
	r.chunks, r.bad = map[string]map[int][]byte{}, map[string]*EntryError{}
}

// Close ends the reader.
func (r *Reader) Close() { r.client.Close() }

// ReadToEnd calls fn for every entry from where the reader stands to what was
// the end of the ledger when the call began. Of a key that was stored often it
// may see every entry or only the newest, as compaction has left it.
//
// An entry that is damaged or incomplete, and was not replaced since, is
// returned as an EntryError, by every call until it is replaced; all other
// entries are read nevertheless. When fn returns an error, ReadToEnd stops and
// returns it, and the next call begins with the same entry.
func (r *Reader) ReadToEnd(ctx context.Context, fn func(Entry) error) error {
	end, err := r.bounds(ctx)
	if err != nil {
		return fmt.Errorf("read the ledger %s: %w", r.cfg.Topic, err)
	}
	for r.next < end {
		part, err := rawlog.Fetch(ctx, r.client, r.cfg.Topic, r.id, 0, r.next)
		switch {
		case errors.Is(err, kerr.OffsetOutOfRange), errors.Is(err, rawlog.ErrTopicID):
			r.rewind()
			return fmt.Errorf("read the ledger %s: %w: %w", r.cfg.Topic, ErrReplaced, err)
		case err != nil:
			return fmt.Errorf("read the ledger: %w", err)
		}
		for _, rec := range part.Records {
			if rec.Offset >= end {
				break // belongs to the next call
			}
			if err := r.take(rec, fn); err != nil {
				return err
			}
			r.next = rec.Offset + 1
		}
		r.next = max(r.next, min(part.Next, end))
	}
	return r.damage()
}

// damage returns what cannot be read, in the order of the log.
func (r *Reader) damage() error {
	var errs []error
	for _, e := range slices.SortedFunc(maps.Values(r.bad), func(a, b *EntryError) int { return int(a.Offset - b.Offset) }) {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// bounds returns the end of the log, and puts a new reader at its start.
func (r *Reader) bounds(ctx context.Context) (int64, error) {
	admin := kadm.NewClient(r.client)
	at := func(list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
		listed, err := list(ctx, r.cfg.Topic)
		if err != nil {
			return 0, err
		}
		o, ok := listed.Lookup(r.cfg.Topic, 0)
		if !ok {
			return 0, kerr.UnknownTopicOrPartition
		}
		return o.Offset, o.Err
	}
	t, _, err := describe(ctx, r.client, r.cfg.Topic) // kadm may answer from memory
	if err != nil {
		return 0, fmt.Errorf("ask for its id: %w", err)
	}
	if r.next >= 0 && t.TopicID != r.id { // however long the new one is
		was := r.id
		r.rewind()
		return 0, fmt.Errorf("%w: its id is %x and was %x", ErrReplaced, t.TopicID, was)
	}
	if r.next < 0 {
		start, err := at(admin.ListStartOffsets)
		if err != nil {
			return 0, fmt.Errorf("ask for its start: %w", err)
		}
		r.next, r.id = start, t.TopicID
	}
	end, err := at(admin.ListEndOffsets)
	if err != nil {
		return 0, fmt.Errorf("ask for its end: %w", err)
	}
	if end < r.next {
		was := r.next
		r.rewind()
		return 0, fmt.Errorf("%w: it ends at offset %d and was read up to %d", ErrReplaced, end, was)
	}
	return end, nil
}

// wants says whether the reader is to yield entries of this key.
func (r *Reader) wants(key string) bool {
	if r.cfg.Test != "" && !strings.HasPrefix(key, r.cfg.Test+"/") {
		return false
	}
	if len(r.cfg.Kinds) == 0 {
		return true
	}
	k, err := ParseKey(key)
	return err != nil || slices.Contains(r.cfg.Kinds, k.Kind)
}

// take takes in one record of the ledger.
func (r *Reader) take(rec *kgo.Record, fn func(Entry) error) error {
	key := string(rec.Key)
	if rec.Attrs.IsControl() || rec.Value == nil || !r.wants(key) {
		return nil
	}
	set, chunk, isChunk := splitChunkKey(key)
	fail := func(format string, args ...any) error {
		of := key
		if isChunk {
			of = set[:strings.LastIndexByte(set, '#')] // the entry that the chunk belongs to
		}
		r.bad[of] = &EntryError{Key: of, Offset: rec.Offset, Err: fmt.Errorf(format, args...)}
		return nil
	}
	value := rec.Value
	if len(value) < headerSize || string(value[:len(entryMagic)]) != entryMagic {
		return fail("%w: it does not begin as an entry does", ErrCorrupt)
	}
	version, kind, body := value[headerSize-2], value[headerSize-1], value[headerSize:]
	if version != entryVersion {
		return fail("version %d, this program reads %d: %w", version, entryVersion, ErrVersion)
	}
	switch kind {
	case typeChunk:
		if !isChunk {
			return fail("%w: a chunk whose key has no number", ErrCorrupt)
		}
		if r.chunks[set] == nil {
			r.chunks[set] = map[int][]byte{}
		}
		r.chunks[set][chunk] = body
		return nil
	case typeManifest:
	default:
		return fail("%w: type %d is unknown", ErrCorrupt, kind)
	}
	k, err := ParseKey(key)
	if err != nil {
		return fail("%w: %w", ErrCorrupt, err)
	}
	var m manifest
	if err := cbor.Unmarshal(body, &m); err != nil {
		return fail("%w: %w", ErrCorrupt, err)
	}
	payload := m.Inline
	if m.Chunks > 0 {
		set = key + "#" + m.Slot
		payload = nil
		for i := range int(m.Chunks) {
			chunk, ok := r.chunks[set][i]
			if !ok {
				return fail("%w: chunk %d of %d is missing", ErrTruncated, i+1, m.Chunks)
			}
			payload = append(payload, chunk...)
		}
	}
	if uint64(len(payload)) != m.Length {
		return fail("%w: %d bytes of %d", ErrTruncated, len(payload), m.Length)
	}
	if xxhash.Sum64(payload) != m.Checksum {
		return fail("%w: the checksum does not match", ErrCorrupt)
	}
	e := Entry{Key: k, Payload: payload, Offset: rec.Offset}
	if rec.Attrs.TimestampType() == 1 {
		e.Appended, e.AppendedIsBroker = rec.Timestamp.UnixMicro(), true
	}
	if err := fn(e); err != nil {
		return err
	}
	if i := strings.LastIndexByte(m.Slot, '.'); i >= 0 {
		// The writer's other set, if it is still in the log, is of an older entry.
		delete(r.chunks, key+"#"+m.Slot[:i]+".0")
		delete(r.chunks, key+"#"+m.Slot[:i]+".1")
	}
	delete(r.bad, key)
	return nil
}
