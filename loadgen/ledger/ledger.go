// Package ledger holds what the load tools know for certain. Each side keeps a
// ledger of its own leg: a producer of what it reserved, what the source
// cluster acknowledged and what failed; a consumer of what arrived, partition
// by partition. A verdict is computed from the two, and never from what one
// process saw last.
//
// All times are Unix microseconds of the clock of the process that wrote them,
// unless a field says otherwise.
package ledger

import (
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
)

// Version is the version of the written form. A reader refuses others.
const Version = 1

// Names of the ledger topics. They are fixed, so that every replicator's
// configuration can exclude them.
const (
	SourceTopic      = "kmt-ledger-source"
	DestinationTopic = "kmt-ledger-destination"
)

// ErrVersion is wrapped by Decode when the ledger was written by a version
// that this one does not know.
var ErrVersion = errors.New("unknown ledger version")

// Stream names one sequence of numbers: what one life of a producer sent to
// one source partition while the topic had a certain number of partitions.
type Stream struct {
	_         struct{} `cbor:",toarray"`
	Run       uint64   // random for each life of a producer
	Topic     string   // name at the source
	Epoch     uint32   // rises when partitions grow
	Partition int32    // source partition
}

// Encode writes a Sent, a Received or another state of this package. The first
// byte is the version.
func Encode(v any) ([]byte, error) {
	data, err := cbor.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write ledger: %w", err)
	}
	return append([]byte{Version}, data...), nil
}

// Decode reads what Encode wrote.
func Decode(data []byte, v any) error {
	if len(data) == 0 {
		return errors.New("read ledger: no data")
	}
	if data[0] != Version {
		return fmt.Errorf("read ledger: version %d, this program reads %d: %w", data[0], Version, ErrVersion)
	}
	if err := cbor.Unmarshal(data[1:], v); err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	if state, ok := v.(interface{ check() error }); ok {
		if err := state.check(); err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
	}
	return nil
}

// ErrImpossible is wrapped by Decode when a state is well written and no program can have come to it: who
// works with it would come to harm.
var ErrImpossible = errors.New("impossible state")

func (s *Sent) check() error {
	for i, st := range s.Streams {
		if st == nil {
			return fmt.Errorf("%w: stream %d is missing", ErrImpossible, i)
		}
		if st.Reserved > math.MaxInt64 || st.Next > math.MaxInt64 {
			return fmt.Errorf("%w: stream %d has reserved %d sequences and used %d, more than there can be", ErrImpossible, i, st.Reserved, st.Next)
		}
		for reason, set := range st.Failed {
			if set == nil {
				return fmt.Errorf("%w: stream %d failed by %q, and what is missing", ErrImpossible, i, reason)
			}
		}
	}
	return nil
}

// Sent is the ledger of one life of a producer: the leg producer -> source.
type Sent struct {
	Test     string
	Producer string // stable id
	Run      uint64
	Started  int64
	Updated  int64
	// Closed is set by the last snapshot of a clean stop: nothing will be sent
	// any more, and no sequence at or above Next was ever used.
	Closed bool
	// Ordered says that the producer was idempotent, so that a stream's records
	// lie in the source log in rising order.
	Ordered bool
	Streams []*SentStream

	Scheduled uint64 // records that the schedule asked for
	Shed      uint64 // of those, dropped because the buffer was full; they have no sequence
	Bytes     uint64 // acknowledged payload, keys and headers not counted
	// Late is by how much, in microseconds, the producer itself ran behind its
	// schedule in the last interval (not counting a full buffer): the tester's
	// own share of slowness.
	Late int64
	// Full is for how long, in microseconds since Started, the buffer was full:
	// the source cluster's share.
	Full int64
	// Previous is the write of the snapshot before this one, a probe of the
	// source cluster's clock.
	Previous *Probe
}

// Probe brackets one write to a ledger topic: the broker appended the record
// at Offset some time between Sent and Acked.
type Probe struct {
	_                   struct{} `cbor:",toarray"`
	Sent, Acked, Offset int64
}

// SentStream is what a producer knows of one stream. Sequences count from 0.
type SentStream struct {
	Stream Stream
	// Base is the source partition's end offset when the stream began: no record
	// of the stream lies below it.
	Base int64
	// Began is when its first record was intended; 0: none has been used yet.
	Began int64
	// Reserved: sequences in [0, Reserved) may have been sent. It is stored
	// durably before the first of them is.
	Reserved uint64
	// Next is the first sequence that had not been used when this was written.
	Next uint64
	// Acked holds the sequences that the source cluster acknowledged. With acks=0
	// it stays empty, since nothing is acknowledged.
	Acked intervals.Set
	// Failed holds the sequences that were certainly not written, by reason.
	Failed map[string]*intervals.Set
	// Suspect holds acknowledged sequences for which the client later detected
	// that the source cluster lost data.
	Suspect intervals.Set
	// Control is a sequence that is reserved and deliberately never sent: the
	// verdict must report it missing. Nil: this stream has none.
	Control *uint64
	// Last is the latest acknowledgement.
	Last *Sample
}

// Sample ties a sequence to its place in the source log.
type Sample struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	Offset   int64
	Intended int64
}

// Ack notes that the source cluster acknowledged a sequence.
func (s *SentStream) Ack(sequence uint64, offset, intended int64) {
	s.Acked.Add(sequence)
	if s.Last == nil {
		s.Last = &Sample{}
	} else if sequence < s.Last.Sequence {
		return
	}
	s.Last.Sequence, s.Last.Offset, s.Last.Intended = sequence, offset, intended
}

// Fail notes that a sequence was certainly not written.
func (s *SentStream) Fail(sequence uint64, reason string) {
	if s.Failed == nil {
		s.Failed = map[string]*intervals.Set{}
	}
	set := s.Failed[reason]
	if set == nil {
		set = &intervals.Set{}
		s.Failed[reason] = set
	}
	set.Add(sequence)
}
