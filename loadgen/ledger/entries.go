package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Kinds of entries of the ledger topics.
const (
	KindSent     = "sent"     // a Sent: one life of a producer
	KindReceived = "received" // a Received: one destination partition, by one consumer
	KindWindow   = "window"   // a WindowEntry that is closed
	KindRate     = "rate"     // a Rate
	KindAudit    = "audit"    // the auditor's own state
)

// Key names an entry: the newest entry of a key replaces the older ones. Test
// and Kind must not be empty nor contain a slash; Name may be anything.
type Key struct{ Test, Kind, Name string }

// String writes the key as it stands in the ledger topic, test/kind/name.
func (k Key) String() string { return k.Test + "/" + k.Kind + "/" + k.Name }

// ErrKey is wrapped by ParseKey and Put when a key has not the form
// test/kind/name.
var ErrKey = errors.New("not a ledger key of the form test/kind/name")

// ParseKey reads what String wrote.
func ParseKey(s string) (Key, error) {
	parts := strings.SplitN(s, "/", 3)
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("%w: %q", ErrKey, s)
	}
	k := Key{Test: parts[0], Kind: parts[1], Name: parts[2]}
	return k, k.validate()
}

func (k Key) validate() error {
	if k.Test == "" || k.Kind == "" || strings.Contains(k.Test, "/") || strings.Contains(k.Kind, "/") {
		return fmt.Errorf("%w: %q", ErrKey, k.String())
	}
	return nil
}

// Key returns the key of the ledger of one life of a producer.
func (s *Sent) Key() Key {
	return Key{s.Test, KindSent, fmt.Sprintf("%s/%016x", s.Producer, s.Run)}
}

// Key returns the key of a partition's ledger, which is the writer's own: what
// a paused writer stores when it wakes replaces nobody else's.
func (r *Received) Key() Key {
	return Key{r.Test, KindReceived, fmt.Sprintf("%s/%x/%d/%s", r.Topic, r.TopicID, r.Partition, r.Writer)}
}

// WindowEntry is one closed second of arrivals on one destination partition.
type WindowEntry struct {
	Topic     string // name at the source
	TopicID   [16]byte
	Partition int32
	Window    Window
}

// Key returns the key of the window in a test's ledger. It has no writer:
// whoever reads the same log comes to the same window.
func (w *WindowEntry) Key(test string) Key {
	return Key{test, KindWindow, fmt.Sprintf("%s/%x/%d/%d", w.Topic, w.TopicID, w.Partition, w.Window.Second)}
}

// Rate is what one life of a producer did in one second, all topics together.
type Rate struct {
	Producer  string
	Run       uint64
	Second    int64  // Unix seconds
	Scheduled uint64 // records asked for by the schedule
	Acked     uint64
	Bytes     uint64 // values of the acknowledged ones
	Shed      uint64
	Topics    []TopicRate // the same by topic; idle ones are left out
}

// Key returns the key of the rate in a test's ledger.
func (r *Rate) Key(test string) Key {
	return Key{test, KindRate, fmt.Sprintf("%s/%016x/%d", r.Producer, r.Run, r.Second)}
}

// CompareStreams orders streams by topic, partition, epoch and run.
func CompareStreams(a, b Stream) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Run, b.Run))
}
