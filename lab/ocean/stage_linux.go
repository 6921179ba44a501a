package ocean

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// packet is what a TUN device gave: a header of the kernel's for offloads, and an IP packet. Who is passed one
// has to pass it on or release it.
type packet struct {
	data []byte
	to   *tunHost
	buf  *buffer // what data is part of; nil for what is the reader's own, and must be copied to be kept
}

func (p packet) size() int { return len(p.data) - offloadHeader }

// release gives the packet's memory back.
func (p packet) release() {
	if p.buf != nil {
		p.buf.pool.Put(p.buf)
	}
}

// stage runs one line: it holds packets and passes them on when their time has come, in one goroutine.
type stage struct {
	clock   clock
	buffers *buffers
	count   *counters
	next    func(packet) // the way behind it
	bell    *alarm
	done    chan struct{}

	mu      sync.Mutex
	line    *line[packet]
	passing int // taken from the line and not yet passed on
	closed  bool
}

func (o *Ocean) newStage(link Link, next func(packet)) (*stage, error) {
	bell, err := newAlarm(o.clock)
	if err != nil {
		return nil, err
	}
	s := &stage{clock: o.clock, buffers: &o.buffers, count: &o.counters, next: next, bell: bell, done: make(chan struct{}),
		line: newLine[packet](link, o.seed, o.streams.Add(1))}
	go s.run()
	return s, nil
}

func (s *stage) set(link Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.link = link
}

func (s *stage) link() Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line.link
}

// pass takes a packet. One that need not wait goes straight on, in the caller's goroutine.
func (s *stage) pass(p packet) {
	s.mu.Lock()
	if s.passing == 0 && s.line.idle() {
		s.mu.Unlock()
		s.next(p)
		return
	}
	if p.buf == nil {
		p.buf = s.buffers.get(len(p.data))
		p.data = p.buf.space[:copy(p.buf.space, p.data)]
	}
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
func (s *stage) run() {
	defer close(s.done)
	var due []packet
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
func (s *stage) close() error {
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

// alarm is one of the kernel's timers. Go's own ones are up to a millisecond late.
type alarm struct {
	clock clock
	fd    int
	file  *os.File
}

func newAlarm(c clock) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{clock: c, fd: fd, file: os.NewFile(uintptr(fd), "timer")}, nil
}

// set has it ring at that time, and no more at the time set before. Not to be called after close.
func (a *alarm) set(at time.Duration) {
	wait := max(at-a.clock.now(), 1) // 0 would disarm it
	// It cannot fail: descriptor and value are good.
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
}

// wait returns true when it rings, false when it is closed.
func (a *alarm) wait() bool {
	var rings [8]byte
	_, err := a.file.Read(rings[:])
	return err == nil
}

func (a *alarm) close() error { return a.file.Close() }

// buffer is memory for one packet.
type buffer struct {
	space []byte
	pool  *sync.Pool
}

// bufferSizes fit an acknowledgement, a packet of Ethernet's size, one of AWS's, and the most that a kernel hands
// over in one piece.
var bufferSizes = [...]int{256, 2048, 9216, largest}

// buffers keeps memory for packets, by size.
type buffers [len(bufferSizes)]sync.Pool

func (b *buffers) get(size int) *buffer {
	i := 0
	for size > bufferSizes[i] {
		i++
	}
	if found, ok := b[i].Get().(*buffer); ok {
		return found
	}
	return &buffer{space: make([]byte, bufferSizes[i]), pool: &b[i]}
}
