package lab

import (
	"fmt"
	"net"
	"strconv"
)

// network is where the processes of both sides are.
type network interface {
	// place makes room for a process of a side, which listens on a port: the one that it is known by, or
	// another where addresses are shared.
	place(side, name string, port int) (seat, error)
	// notes say in sentences what is less true here than between two regions.
	notes() []string
	// close ends and removes the network. All processes must have ended.
	close() error
}

// seat is where one process is.
type seat interface {
	// listen is the address, host:port, on which the process listens.
	listen() string
	// reach is the address at which it is reached from a side, or from outside.
	reach(from string) string
	// start calls f on the thread that starts the process; nil: any will do.
	start() func(f func() error) error
	// close removes the seat. Its process must have ended.
	close() error
}

// outside is where the lab itself is.
const outside = "outside"

// loopback has everything at 127.0.0.1, without an ocean.
type loopback struct{ used map[int]bool }

func newLoopback() *loopback { return &loopback{used: map[int]bool{}} }

func (l *loopback) place(_, _ string, _ int) (seat, error) {
	for range 100 {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		if !l.used[ports[0]] {
			l.used[ports[0]] = true
			return here(address(ports[0])), nil
		}
	}
	return nil, fmt.Errorf("no free port on 127.0.0.1 that the lab does not use itself")
}

func (*loopback) notes() []string {
	return []string{"Both clusters are on one loopback device, without an ocean: no delay, loss or bandwidth of a region's is in the figures."}
}

func (*loopback) close() error { return nil }

// here is a seat on the loopback.
type here string

func (h here) listen() string                { return string(h) }
func (h here) reach(string) string           { return string(h) }
func (here) start() func(func() error) error { return nil }
func (here) close() error                    { return nil }

// split returns the host and the port of an address.
func split(address string) (host string, port int) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}
