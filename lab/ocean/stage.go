package ocean

import (
	"sync"
	"time"
)

// parcel is what lines carry: packets of an Ocean, parts of TCP streams of Proxies. Who is passed one has to pass
// it on or release it.
type parcel[T any] interface {
	size() int // as Bandwidth and Queue count it
	keep() T   // with memory of its own, if it has not yet
	release()  // its memory
}

// stage runs one line: it holds parcels and passes them on when their time has come, in one goroutine.
type stage[T parcel[T]] struct {
	clock clock
	count *counters
	next  func(T) // the way behind it
	bell  *alarm
	done  chan struct{}

	mu      sync.Mutex
	line    *line[T]
	passing int // taken from the line and not yet passed on
	closed  bool
}

func newStage[T parcel[T]](c clock, count *counters, l *line[T], next func(T)) (*stage[T], error) {
	bell, err := newAlarm(c)
	if err != nil {
		return nil, err
	}
	s := &stage[T]{clock: c, count: count, next: next, bell: bell, done: make(chan struct{}), line: l}
	go s.run()
	return s, nil
}

func (s *stage[T]) set(link Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.link = link
}

func (s *stage[T]) link() Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line.link
}

// pass takes a parcel. One that need not wait goes straight on, in the caller's goroutine.
func (s *stage[T]) pass(p T) {
	s.mu.Lock()
	if s.passing == 0 && s.line.idle() {
		s.mu.Unlock()
		s.next(p)
		return
	}
	p = p.keep()
	was, waiting := s.line.next()
	result := s.line.enter(s.clock.now(), p.size(), p)
	if is, _ := s.line.next(); result == held && (!waiting || is < was) && !s.closed {
		s.bell.set(is)
	}
	s.mu.Unlock()
	if result != held {
		s.count.drop(result)
		p.release()
	}
}

// run passes on what is due, until the alarm is closed.
func (s *stage[T]) run() {
	defer close(s.done)
	var due []T
	for s.bell.wait() {
		for {
			s.mu.Lock()
			now := s.clock.now()
			for p, ok := s.line.leave(now); ok; p, ok = s.line.leave(now) {
				if due = append(due, p); len(due) == 256 {
					break
				}
			}
			s.passing = len(due)
			severed := s.line.link.Partition // it hits what is on its way, too
			if at, ok := s.line.next(); len(due) == 0 && ok && !s.closed {
				s.bell.set(at)
			}
			s.mu.Unlock()
			if len(due) == 0 {
				break
			}
			for _, p := range due {
				if severed {
					s.count.drop(cut)
					p.release()
				} else {
					s.next(p)
				}
			}
			clear(due)
			due = due[:0]
		}
	}
}

// close returns when nothing is passed on any more.
func (s *stage[T]) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.bell.close()
	<-s.done
	return err
}

// clock tells the time since the network was made.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }
