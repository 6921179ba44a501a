package ocean

import (
	"math/rand/v2"
	"time"
)

// maxHeld bounds the bytes that one line holds. TCP's windows keep it far below; who sends without regard for
// what is lost meets it.
const maxHeld = 512 << 20

// outcome is what a line made of a packet.
type outcome int

const (
	held    outcome = iota // it leaves when its time has come
	lost                   // by chance
	cut                    // by a partition
	tail                   // the queue for the bandwidth was full
	overrun                // the emulator's memory was full: a limit of ours, not of the network
	outcomes
)

// line holds packets for as long as a Link says. It knows no clock: times are passed in, as durations since some
// start, and never decrease. It is for one goroutine at a time.
type line[T any] struct {
	link  Link
	rng   *rand.Rand
	limit int64 // of bytes held

	free  time.Duration // when the bandwidth has sent all that was queued for it
	last  time.Duration // when the latest packet leaves
	bytes int64         // held
	seq   uint64
	heap  []entry[T] // the next to leave is first
}

type entry[T any] struct {
	at     time.Duration
	seq    uint64 // of two that leave at the same time, the one that came first
	size   int
	packet T
}

func newLine[T any](link Link, seed, stream uint64) *line[T] {
	return &line[T]{link: link, limit: maxHeld, rng: rand.New(rand.NewPCG(seed, stream))}
}

// idle says whether a packet that enters now would leave at once and overtake none.
func (l *line[T]) idle() bool { return len(l.heap) == 0 && l.link == Link{} }

// enter takes a packet, or drops it.
func (l *line[T]) enter(now time.Duration, size int, packet T) outcome {
	link := l.link
	switch {
	case link.Partition:
		return cut
	case link.Loss > 0 && l.rng.Float64()*100 < link.Loss:
		return lost
	case l.bytes+int64(size) > l.limit:
		return overrun
	}
	at := now
	if link.Bandwidth > 0 {
		queue := link.Queue
		if queue == 0 {
			queue = link.DefaultQueue()
		}
		start := max(now, l.free)
		waiting := int64((start - now).Seconds() * float64(link.Bandwidth))
		if waiting > 0 && waiting+int64(size) > queue {
			return tail
		}
		l.free = start + time.Duration(float64(size)/float64(link.Bandwidth)*float64(time.Second))
		at = l.free
	}
	at += link.Delay
	if link.Jitter > 0 {
		at += time.Duration((2*l.rng.Float64() - 1) * float64(link.Jitter))
	}
	if !link.Reorder {
		at = max(at, l.last)
	}
	l.last = max(at, l.last)
	l.bytes += int64(size)
	l.push(entry[T]{at: at, seq: l.seq, size: size, packet: packet})
	l.seq++
	return held
}

// next is when the next packet leaves.
func (l *line[T]) next() (time.Duration, bool) {
	if len(l.heap) == 0 {
		return 0, false
	}
	return l.heap[0].at, true
}

// leave returns a packet whose time has come.
func (l *line[T]) leave(now time.Duration) (packet T, ok bool) {
	if len(l.heap) == 0 || l.heap[0].at > now {
		return packet, false
	}
	e := l.pop()
	l.bytes -= int64(e.size)
	return e.packet, true
}

// A heap of our own, since container/heap allocates for each packet.

func (e entry[T]) before(other entry[T]) bool {
	return e.at < other.at || e.at == other.at && e.seq < other.seq
}

func (l *line[T]) push(e entry[T]) {
	l.heap = append(l.heap, e)
	for i := len(l.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !l.heap[i].before(l.heap[parent]) {
			break
		}
		l.heap[i], l.heap[parent] = l.heap[parent], l.heap[i]
		i = parent
	}
}

func (l *line[T]) pop() entry[T] {
	first := l.heap[0]
	end := len(l.heap) - 1
	l.heap[0] = l.heap[end]
	l.heap[end] = entry[T]{} // keeps no packet alive
	l.heap = l.heap[:end]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < end; child++ {
			if l.heap[child].before(l.heap[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		l.heap[i], l.heap[least] = l.heap[least], l.heap[i]
		i = least
	}
}
