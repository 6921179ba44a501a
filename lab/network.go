package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// network is where the processes of both sides are.
type network interface {
	// place makes room for a process of a side, which listens on a port: the one that it is known by, or
	// another where addresses are shared.
	place(side, name string, port int) (seat, error)
	// beside returns another address of the process in a seat, host:port: on the port that it is known by, or
	// another where addresses are shared. It is reached from outside only.
	beside(s seat, port int) (string, error)
	// notes say in sentences what is less true here than between two regions.
	notes() []string
	// disturb adds to what happens to packets that cross the ocean, on behalf of a side, whose former
	// addition it replaces.
	disturb(side string, link ocean.Link) error
	// disturbOne is about all that the process in a seat sends.
	disturbOne(s seat, link ocean.Link) error
	// close ends and removes the network. All processes must have ended.
	close() error
}

// seat is where one process is.
type seat interface {
	// listen is the address, host:port, on which the process listens.
	listen() string
	// reach is the address at which it is reached from a side, or from outside.
	reach(from string) string
	// listeners are those of a broker, which tells its clients where it is.
	listeners() ([]listener, error)
	// start calls f on the thread that starts the process; nil: any will do.
	start() func(f func() error) error
	// close removes the seat. Its process must have ended.
	close() error
}

// listener is one of a broker's: for the clients of a side, whose name it has, or for everyone.
type listener struct{ name, listen, advertised string }

const everyone = "EVERYONE"

// outside is where the lab itself is.
const outside = ocean.Outside

// Kinds of ocean that a lab can have.
const (
	OceanAuto  = "auto"  // tun where it can be had, else proxy
	OceanOff   = "off"   // one loopback device
	OceanTUN   = "tun"   // network namespaces and TUN devices, which need root on Linux
	OceanProxy = "proxy" // TCP proxies
)

// openNetwork makes the network that cfg asks for.
func openNetwork(cfg Config) (network, error) {
	switch o := cfg.ocean(); cfg.Ocean {
	case OceanTUN:
		n, err := ocean.New(o)
		if err != nil {
			return nil, fmt.Errorf("the ocean: %w", err)
		}
		return newSea(n, o.Link, false), nil
	case OceanProxy:
		n, err := ocean.NewProxies(o)
		if err != nil {
			return nil, fmt.Errorf("the ocean: %w", err)
		}
		return newSea(n, o.Link, true), nil
	}
	return &loopback{ports: ports{used: map[int]bool{}}, foreign: cfg.existing()}, nil
}

// loopback has everything at 127.0.0.1, without an ocean.
type loopback struct {
	ports   ports
	foreign bool // the clusters are elsewhere
}

func (l *loopback) place(string, string, int) (seat, error) {
	port, err := l.ports.next()
	return here(address(port)), err
}

func (l *loopback) beside(seat, int) (string, error) {
	port, err := l.ports.next()
	return address(port), err
}

func (l *loopback) notes() []string {
	if l.foreign {
		return []string{"Load tools and replicator were on one machine, whose own way to the clusters is in the figures."}
	}
	return []string{"Both clusters were on one loopback device, without an ocean: no delay, loss or bandwidth of a region's is in the figures."}
}

var errNoOcean = fmt.Errorf("%w: the lab has no ocean: run it as root on Linux, or with --ocean=%s", scenario.ErrCannotPlay, OceanProxy)

var errNoPackets = fmt.Errorf("%w: the lab's ocean carries no packets: run it as root on Linux", scenario.ErrCannotPlay)

func (*loopback) disturb(string, ocean.Link) error  { return errNoOcean }
func (*loopback) disturbOne(seat, ocean.Link) error { return errNoOcean }
func (*loopback) close() error                      { return nil }

// here is a seat on the loopback.
type here string

func (h here) listen() string      { return string(h) }
func (h here) reach(string) string { return string(h) }
func (h here) listeners() ([]listener, error) {
	return []listener{{everyone, string(h), string(h)}}, nil
}
func (here) start() func(func() error) error { return nil }
func (here) close() error                    { return nil }

// sea is an ocean, and what disturbs it.
type sea struct {
	net     ocean.Network
	proxies bool // hosts share an address, and each side sees another one
	ports   ports

	mu    sync.Mutex
	calm  ocean.Link
	storm map[string]ocean.Link // by side
}

func newSea(n ocean.Network, calm ocean.Link, proxies bool) *sea {
	return &sea{net: n, calm: calm, proxies: proxies, ports: ports{used: map[int]bool{}}, storm: map[string]ocean.Link{}}
}

func (s *sea) place(side, name string, port int) (seat, error) {
	host, err := s.net.AddHost(side, name)
	if err != nil {
		return nil, err
	}
	i := &island{sea: s, host: host, port: port}
	if s.proxies {
		var errs [3]error
		i.port, errs[0] = s.ports.next()
		i.source, errs[1] = s.ports.next()
		i.destination, errs[2] = s.ports.next()
		if err := errors.Join(errs[:]...); err != nil {
			return nil, errors.Join(err, host.Close())
		}
	}
	return i, nil
}

func (s *sea) beside(one seat, port int) (string, error) {
	var err error
	if s.proxies {
		port, err = s.ports.next()
	}
	return one.(*island).at(port), err
}

func (s *sea) notes() []string {
	l := s.calm
	calm := fmt.Sprintf("The ocean: %s each way", l.Delay)
	if l.Jitter > 0 {
		calm += fmt.Sprintf(", give or take %s", l.Jitter)
	}
	if l.Loss > 0 {
		calm += fmt.Sprintf(", %v %% of the packets lost", l.Loss)
	}
	if l.Bandwidth > 0 {
		calm += fmt.Sprintf(", %s a second", units.Size(l.Bandwidth))
	}
	return append([]string{calm + "."}, s.net.Limits()...)
}

func (s *sea) disturb(side string, link ocean.Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storm[side] = link
	now := s.calm
	for _, more := range s.storm {
		now.Delay += more.Delay
		now.Jitter += more.Jitter
		now.Loss = 100 - (100-now.Loss)*(100-more.Loss)/100
		now.Partition = now.Partition || more.Partition
	}
	return s.net.Set(now)
}

func (s *sea) disturbOne(one seat, link ocean.Link) error {
	return s.net.SetHost(one.(*island).host, link)
}

func (s *sea) close() error { return s.net.Close() }

// island is a seat in the ocean.
type island struct {
	sea  *sea
	host ocean.Host
	port int
	// Ports on which a broker listens to clients of each side, with proxies before them. Other processes
	// listen on one port, and no proxy is before it: nothing of theirs crosses the ocean.
	source, destination int
}

func (i *island) at(port int) string { return netip.AddrPortFrom(i.host.Addr(), uint16(port)).String() }

func (i *island) listen() string { return i.at(i.port) }

func (i *island) reach(from string) string {
	if all, err := i.listeners(); err == nil {
		for _, l := range all {
			if l.name == strings.ToUpper(from) {
				return l.advertised
			}
		}
	}
	return i.listen()
}

func (i *island) listeners() ([]listener, error) {
	if !i.sea.proxies {
		return []listener{{everyone, i.listen(), i.listen()}}, nil
	}
	all := []listener{{strings.ToUpper(outside), i.listen(), i.listen()}}
	for side, port := range map[string]int{Source: i.source, Destination: i.destination} {
		advertised, err := i.host.Reach(side, port)
		if err != nil {
			return nil, err
		}
		all = append(all, listener{strings.ToUpper(side), i.at(port), advertised})
	}
	return all, nil
}

func (i *island) start() func(func() error) error { return i.host.Do }
func (i *island) close() error                    { return i.host.Close() }

// split returns the host and the port of an address.
func split(address string) (host string, port int) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}

// ports hands out free loopback ports, each once.
type ports struct {
	mu   sync.Mutex
	used map[int]bool
}

func (p *ports) next() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 100 {
		free, err := freePorts(1)
		if err != nil {
			return 0, err
		}
		if !p.used[free[0]] {
			p.used[free[0]] = true
			return free[0], nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1 that the lab does not use itself")
}
