package demo

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// machine is what a process runs on, as the rest of the world sees it: all its
// connections go through here. Killed, it sends not one byte more, whatever the
// code in it still tries; frozen, it neither sends nor hears anything until it
// thaws, and then goes on as if nothing had been.
type machine struct {
	mu     sync.Mutex
	dead   bool
	thawed chan struct{} // nil: not frozen
	conns  map[net.Conn]bool
	// sends counts writes to the network; with the one numbered killAt the
	// machine dies: half of the time before it has left, else after.
	sends, killAt int
	died          chan struct{}
}

func newMachine() *machine {
	return &machine{conns: map[net.Conn]bool{}, died: make(chan struct{})}
}

var errDead = errors.New("this machine is dead")

func (m *machine) option() kgo.Opt { return kgo.Dialer(m.dial) }

func (m *machine) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := m.gate(); err != nil {
		return nil, err
	}
	inner, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		inner.Close()
		return nil, errDead
	}
	m.conns[inner] = true
	return &wire{Conn: inner, m: m}, nil
}

// killAfter makes the machine die at its n-th next write to the network.
func (m *machine) killAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killAt = m.sends + n
}

func (m *machine) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.die()
}

func (m *machine) die() {
	if m.dead {
		return
	}
	m.dead = true
	close(m.died)
	if m.thawed != nil {
		close(m.thawed)
		m.thawed = nil
	}
	for conn := range m.conns {
		conn.Close()
	}
}

func (m *machine) freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.thawed == nil && !m.dead {
		m.thawed = make(chan struct{})
	}
}

func (m *machine) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.thawed != nil {
		close(m.thawed)
		m.thawed = nil
	}
}

// gate lets a living, thawed machine's traffic through.
func (m *machine) gate() error {
	for {
		m.mu.Lock()
		dead, thawed := m.dead, m.thawed
		m.mu.Unlock()
		switch {
		case dead:
			return errDead
		case thawed == nil:
			return nil
		}
		<-thawed
	}
}

type wire struct {
	net.Conn
	m *machine
}

func (w *wire) Write(b []byte) (int, error) {
	if err := w.m.gate(); err != nil {
		return 0, err
	}
	w.m.mu.Lock()
	w.m.sends++
	last := w.m.sends == w.m.killAt
	before := w.m.killAt%2 == 0
	if last && before {
		w.m.die()
	}
	dead := w.m.dead
	w.m.mu.Unlock()
	if dead {
		return 0, errDead
	}
	n, err := w.Conn.Write(b)
	if last {
		w.m.kill()
	}
	return n, err
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if dead := w.m.gate(); dead != nil {
		return 0, dead
	}
	return n, err
}

func (w *wire) Close() error {
	w.m.mu.Lock()
	delete(w.m.conns, w.Conn)
	w.m.mu.Unlock()
	return w.Conn.Close()
}
