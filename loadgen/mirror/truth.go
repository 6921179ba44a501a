package mirror

import (
	"slices"
	"sync"
)

// Refused is the word in Truth for a record that the destination would not
// take, which is no fault of ours.
const Refused = "refused"

// Truth is a record of what faults did. It is safe for concurrent use.
//
// A mirror that stops before its positions are stored copies records again when
// it returns; that is not in here.
type Truth struct {
	mu     sync.Mutex
	places map[string][]Place
}

// Place is a source record.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (t *Truth) add(kind, topic string, partition int32, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.places == nil {
		t.places = map[string][]Place{}
	}
	t.places[kind] = append(t.places[kind], Place{topic, partition, offset})
}

// Of returns the records that a kind of fault hit, in the order in which it
// did: those dropped, changed, held back, put on another partition, sent after
// others that come later, or sent again, as often as they were. The list is the
// caller's.
func (t *Truth) Of(kind string) []Place {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.places[kind])
}
