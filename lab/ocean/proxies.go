package ocean

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Proxies is a Network for a machine without root or without Linux: every host is on the loopback interface, and
// Reach gives the address of a TCP proxy, which delays what it carries. Limits says what that is not.
type Proxies struct {
	cfg   Config
	seed  uint64
	clock clock
	ocean map[[2]int]*stage[chunk] // by the indexes of the sides, from and to

	mu      sync.Mutex // guards all below, and what is in hosts
	changed *sync.Cond // a partition, or the end of a connection
	link    Link
	hosts   []*proxyHost
	streams uint64
	closed  bool
}

// Bounds of one connection, each way: what a read takes at most, and how much is under way without a SocketBuffer,
// as by default on Linux.
const (
	chunkSize     = 64 << 10
	defaultWindow = 4 << 20
)

// NewProxies makes a Network of TCP proxies without hosts. Loss and reordering need an Ocean.
func NewProxies(cfg Config) (*Proxies, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := proxied(cfg.Link); err != nil {
		return nil, fmt.Errorf("the ocean: %w", err)
	}
	p := &Proxies{cfg: cfg, seed: cfg.seed(), clock: clock{start: time.Now()}, ocean: map[[2]int]*stage[chunk]{}, link: cfg.Link}
	p.changed = sync.NewCond(&p.mu)
	for from := range cfg.Sides {
		for to := range cfg.Sides {
			if from == to {
				continue
			}
			s, err := p.newStage(cfg.Link, func(c chunk) { c.stream.arrive(c) })
			if err != nil {
				return nil, errors.Join(err, p.Close())
			}
			p.ocean[[2]int{from, to}] = s
		}
	}
	return p, nil
}

// proxied refuses what no TCP proxy can do.
func proxied(l Link) error {
	if l.Loss > 0 || l.Reorder {
		return fmt.Errorf("%w: TCP proxies neither lose nor reorder packets: run as root on Linux", ErrUnavailable)
	}
	return nil
}

// newStage makes a stage that drops nothing: it is TCP's data that it carries.
func (p *Proxies) newStage(link Link, next func(chunk)) (*stage[chunk], error) {
	p.streams++
	l := newLine[chunk](lossless(link), p.seed, p.streams)
	l.limit = math.MaxInt64
	return newStage(p.clock, new(counters), l, next)
}

// lossless is a link whose partition is left to who sends and receives, and its queue to the connections' windows.
func lossless(l Link) Link {
	l.Partition = false
	if l.Bandwidth > 0 {
		l.Queue = math.MaxInt64 / 2
	}
	return l
}

// AddHost makes a host.
func (p *Proxies) AddHost(side, name string) (Host, error) {
	index := slices.Index(p.cfg.Sides, side)
	if index < 0 {
		return nil, fmt.Errorf("host %q: there is no side %q: use one of %q", name, side, p.cfg.Sides)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("host %q: the network is closed", name)
	}
	for _, h := range p.hosts {
		if h.side == index && h.name == name {
			return nil, fmt.Errorf("host %q: %s has one of that name already", name, side)
		}
	}
	h := &proxyHost{network: p, name: name, side: index, relays: map[relayKey]net.Listener{}, conns: map[*connection]struct{}{}}
	var err error
	if h.egress, err = p.newStage(Link{}, cross); err != nil {
		return nil, fmt.Errorf("host %q: %w", name, err)
	}
	if h.thread, err = newThread(func() error { return nil }); err != nil {
		return nil, errors.Join(err, h.egress.close())
	}
	p.hosts = append(p.hosts, h)
	return h, nil
}

// Set changes the ocean between all sides.
func (p *Proxies) Set(link Link) error {
	if err := errors.Join(link.Validate(), proxied(link)); err != nil {
		return fmt.Errorf("the ocean: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = link
	for _, s := range p.ocean {
		s.set(lossless(link))
	}
	p.changed.Broadcast()
	return nil
}

// SetHost changes what happens to what a host sends on connections made to it by Reach.
func (p *Proxies) SetHost(host Host, link Link) error {
	h, ok := host.(*proxyHost)
	if !ok || h.network != p {
		return fmt.Errorf("host %q is none of this network", host.Name())
	}
	if err := errors.Join(link.Validate(), proxied(link)); err != nil {
		return fmt.Errorf("host %q: %w", h.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.link = link
	h.egress.set(lossless(link))
	p.changed.Broadcast()
	return nil
}

// Limits says what is less true than on a real network.
func (p *Proxies) Limits() []string {
	return []string{
		"There is no root here, so TCP proxies stand in for the ocean: both sides share one network, and what does not go by a proxy's address is not affected.",
		"Packets are neither lost nor reordered: faults of that kind cannot be played.",
		"Delay, jitter and bandwidth are those of a connection's data, not of packets: a connection is made at once, without a slow start, and what exceeds the bandwidth waits and is not dropped.",
		"A fault of a host hits the connections made to it, not those that it makes itself: one that is cut off still reaches others.",
		"During a partition connections are accepted and hang; none is refused or timed out by the network.",
	}
}

// Close removes every host and ends every connection.
func (p *Proxies) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	hosts := slices.Clone(p.hosts)
	p.mu.Unlock()
	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.Close())
	}
	for _, s := range p.ocean {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

type relayKey struct{ from, port int }

// proxyHost is a host on the loopback interface, with the proxies before it.
type proxyHost struct {
	network *Proxies
	name    string
	side    int
	thread  *thread
	egress  *stage[chunk]
	running sync.WaitGroup // goroutines of relays and connections

	// Guarded by the network's lock.
	link   Link
	relays map[relayKey]net.Listener
	conns  map[*connection]struct{}
	closed bool
}

func (h *proxyHost) Name() string            { return h.name }
func (h *proxyHost) Side() string            { return h.network.cfg.Sides[h.side] }
func (h *proxyHost) Addr() netip.Addr        { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
func (h *proxyHost) Do(f func() error) error { return h.thread.do(f) }

// Reach starts a proxy for that side and port, where there is none yet.
func (h *proxyHost) Reach(from string, port int) (string, error) {
	direct := net.JoinHostPort(h.Addr().String(), strconv.Itoa(port))
	if from == Outside {
		return direct, nil
	}
	p := h.network
	index := slices.Index(p.cfg.Sides, from)
	if index < 0 {
		return "", fmt.Errorf("reach %q: there is no side %q: use one of %q, or %q", h.name, from, p.cfg.Sides, Outside)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.closed {
		return "", fmt.Errorf("reach %q: the host has been removed", h.name)
	}
	key := relayKey{from: index, port: port}
	if l, ok := h.relays[key]; ok {
		return l.Addr().String(), nil
	}
	l, err := net.Listen("tcp4", net.JoinHostPort(h.Addr().String(), "0"))
	if err != nil {
		return "", fmt.Errorf("reach %q: %w", h.name, err)
	}
	h.relays[key] = l
	h.running.Go(func() {
		for {
			client, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(10 * time.Millisecond) // out of files, most likely
				continue
			}
			h.running.Go(func() { h.serve(index, client, direct) })
		}
	})
	return l.Addr().String(), nil
}

// Close removes the host's proxies and ends their connections.
func (h *proxyHost) Close() error {
	p := h.network
	p.mu.Lock()
	if h.closed {
		p.mu.Unlock()
		return nil
	}
	h.closed = true
	p.hosts = slices.DeleteFunc(p.hosts, func(other *proxyHost) bool { return other == h })
	var errs []error
	for _, l := range h.relays {
		errs = append(errs, l.Close())
	}
	for c := range h.conns {
		c.abort()
	}
	p.mu.Unlock()
	h.running.Wait()
	errs = append(errs, h.egress.close())
	h.thread.close()
	return errors.Join(errs...)
}

// connection is one that a client on side from has made to a host.
type connection struct {
	host           *proxyHost
	from           int
	client, server net.Conn // server is nil until it is made

	// Guarded by the network's lock, as is server.
	streams []*stream
	ended   bool
}

// serve carries a connection until both ends have closed it, or one has broken it off.
func (h *proxyHost) serve(from int, client net.Conn, target string) {
	c := &connection{host: h, from: from, client: client}
	defer c.forget()
	if !c.register() {
		return
	}
	if !c.await() {
		return
	}
	server, err := net.Dial("tcp4", target)
	if err != nil || !c.connected(server) {
		return // the client sees a reset
	}
	var running sync.WaitGroup
	for _, s := range c.streams {
		running.Go(s.read)
		running.Go(s.write)
	}
	running.Wait()
}

// window is how much of a connection's data may be under way in one direction.
func (p *Proxies) window() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	window := int64(defaultWindow)
	if p.cfg.SocketBuffer > 0 {
		window = int64(p.cfg.SocketBuffer)
	}
	// TCP learns only a round trip later that there is room again. Here it is known at once, half a
	// round trip after the sending, so that half the window gives the same rate.
	window /= 2
	if p.link.Bandwidth > 0 {
		queue := p.link.Queue
		if queue == 0 {
			queue = p.link.DefaultQueue()
		}
		window = min(window, queue+int64(p.link.Delay.Seconds()*float64(p.link.Bandwidth)))
	}
	return window
}

func (c *connection) register() bool {
	p := c.host.network
	p.mu.Lock()
	defer p.mu.Unlock()
	c.host.conns[c] = struct{}{}
	return !c.host.closed
}

func (c *connection) connected(server net.Conn) bool {
	p := c.host.network
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.ended {
		_ = server.Close()
		return false
	}
	c.server = server
	there := &stream{conn: c, in: c.client, out: server, send: cross, way: p.ocean[[2]int{c.from, c.host.side}]}
	back := &stream{conn: c, in: server, out: c.client, send: c.host.egress.pass, way: p.ocean[[2]int{c.host.side, c.from}]}
	c.streams = []*stream{there, back}
	for _, s := range c.streams {
		s.changed = sync.NewCond(&s.mu)
	}
	return true
}

// forget closes what has not been broken off; without a connection to the host, the client sees a reset.
func (c *connection) forget() {
	p := c.host.network
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(c.host.conns, c)
	if c.server == nil {
		c.abort()
	}
	if !c.ended {
		c.ended = true
		// Not as abort does: what the ends have not yet read would be lost.
		_ = c.client.Close()
		_ = c.server.Close()
	}
}

// abort resets both ends. The network's lock is held.
func (c *connection) abort() {
	if c.ended {
		return
	}
	c.ended = true
	for _, end := range []net.Conn{c.client, c.server} {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
	for _, s := range c.streams {
		s.mu.Lock()
		s.broken = true
		s.changed.Broadcast()
		s.mu.Unlock()
	}
	c.host.network.changed.Broadcast()
}

// stop breaks the connection off.
func (c *connection) stop() {
	p := c.host.network
	p.mu.Lock()
	defer p.mu.Unlock()
	c.abort()
}

// await returns when no partition lies between the ends, and false when the connection has ended.
func (c *connection) await() bool {
	p := c.host.network
	p.mu.Lock()
	defer p.mu.Unlock()
	for !c.ended && (c.host.link.Partition || p.link.Partition && c.from != c.host.side) {
		p.changed.Wait()
	}
	return !c.ended
}

// chunk is a part of a stream, or its end.
type chunk struct {
	stream *stream
	data   []byte
	end    error // io.EOF, or why the stream broke off
}

func (c chunk) size() int   { return len(c.data) }
func (c chunk) keep() chunk { return c }
func (c chunk) release()    {}

// cross takes a chunk over the ocean, where that lies between.
func cross(c chunk) {
	if c.stream.way != nil {
		c.stream.way.pass(c)
		return
	}
	c.stream.arrive(c)
}

// stream is one direction of a connection.
type stream struct {
	conn    *connection
	in, out net.Conn
	send    func(chunk)   // what comes first on the way
	way     *stage[chunk] // the ocean; nil on a side

	mu       sync.Mutex
	changed  *sync.Cond
	underway int64 // bytes
	arrived  []chunk
	broken   bool // nobody takes what arrives any more
}

// read takes what one end writes, until that closes.
func (s *stream) read() {
	buf := make([]byte, chunkSize)
	for {
		n, err := s.in.Read(buf)
		if n > 0 {
			if !s.conn.await() || !s.take(n) {
				return
			}
			s.send(chunk{stream: s, data: slices.Clone(buf[:n])})
		}
		if err != nil {
			s.send(chunk{stream: s, end: err})
			return
		}
	}
}

// take waits for room in the window.
func (s *stream) take(n int) bool {
	window := s.conn.host.network.window()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.broken && s.underway > 0 && s.underway+int64(n) > window {
		s.changed.Wait()
	}
	s.underway += int64(n)
	return !s.broken
}

func (s *stream) arrive(c chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = append(s.arrived, c)
	s.changed.Broadcast()
}

// write gives the other end what has arrived, until the stream's end.
func (s *stream) write() {
	for {
		s.mu.Lock()
		for len(s.arrived) == 0 && !s.broken {
			s.changed.Wait()
		}
		if s.broken {
			s.mu.Unlock()
			return
		}
		c := s.arrived[0]
		s.arrived = slices.Delete(s.arrived, 0, 1)
		s.mu.Unlock()
		if !s.conn.await() {
			return
		}
		switch {
		case errors.Is(c.end, io.EOF):
			_ = s.out.(*net.TCPConn).CloseWrite() // if it cannot, the other direction says so, too
			return
		case c.end != nil:
			s.conn.stop()
			return
		}
		if _, err := s.out.Write(c.data); err != nil {
			s.conn.stop()
			return
		}
		s.mu.Lock()
		s.underway -= int64(len(c.data))
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}
