package ocean

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The addresses of oceans are from the block that RFC 2544 sets aside for tests of networks, which the Internet
// does not route: a /20 for each ocean, so that several labs can run at once, and in it a /24 for each
// side. The first address of an ocean is the machine's own.
var testNetworks = netip.MustParsePrefix("198.18.0.0/15")

const (
	oceanBits  = 20
	oceanSize  = 1 << (32 - oceanBits)
	sideSize   = 1 << 8
	oceanCount = 1 << (oceanBits - 15)
	hostsASide = sideSize - 2 // neither the first nor the last address
)

// Ocean is a Network of network namespaces and TUN devices. Every host is reached from Outside, too: by a TUN device
// of this machine's own, past the ocean but not past what SetHost does.
type Ocean struct {
	cfg      Config
	seed     uint64
	clock    clock
	network  netip.Prefix
	buffers  buffers
	counters counters
	streams  atomic.Uint64 // of random numbers, one for each stage

	// By the last bits of their addresses. A packet looks its way up here.
	hosts   [oceanSize]atomic.Pointer[tunHost]
	outside *tunHost
	ocean   map[[2]int]*stage[packet] // by the indexes of the sides, from and to

	mu     sync.Mutex // held while hosts and links change
	used   []int      // addresses given out on each side
	all    []*tunHost
	closed bool
}

// New makes an Ocean without hosts. Where this machine cannot have one, the error wraps ErrUnavailable and says
// what is missing.
func New(cfg Config) (*Ocean, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o := &Ocean{cfg: cfg, seed: cfg.seed(), clock: clock{start: time.Now()}, ocean: map[[2]int]*stage[packet]{}, used: make([]int, len(cfg.Sides))}
	if err := o.open(); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (o *Ocean) open() error {
	for from := range o.cfg.Sides {
		for to := range o.cfg.Sides {
			if from == to {
				continue
			}
			s, err := o.newStage(o.cfg.Link, o.deliver)
			if err != nil {
				return err
			}
			o.ocean[[2]int{from, to}] = s
		}
	}
	outside, network, err := openOutside(o.cfg.MTU)
	if err != nil {
		return err
	}
	o.network = network
	o.outside = &tunHost{ocean: o, name: Outside, side: -1, addr: addressIn(network, 1), device: outside}
	if err := o.start(o.outside); err != nil {
		return err
	}
	// That namespaces can be made, too, is known now and not at the first host.
	n, err := newNamespace()
	if err != nil {
		return err
	}
	n.close()
	return nil
}

func (o *Ocean) newStage(link Link, next func(packet)) (*stage[packet], error) {
	return newStage(o.clock, &o.counters, newLine[packet](link, o.seed, o.streams.Add(1)), next)
}

func addressIn(network netip.Prefix, index int) netip.Addr {
	b := network.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(index))
	return netip.AddrFrom4(b)
}

// start lets packets from and to a host flow.
func (o *Ocean) start(h *tunHost) error {
	egress, err := o.newStage(Link{}, h.cross)
	if err != nil {
		return errors.Join(err, h.device.close())
	}
	h.egress = egress
	if err := h.offload(); err != nil {
		return errors.Join(err, egress.close(), h.device.close())
	}
	h.done = make(chan struct{})
	o.hosts[o.index(h.addr)].Store(h)
	o.all = append(o.all, h)
	go h.carry()
	return nil
}

func (o *Ocean) index(a netip.Addr) int {
	b := a.As4()
	return int(binary.BigEndian.Uint32(b[:]) % oceanSize)
}

// AddHost makes a host: a network namespace with a TUN device.
func (o *Ocean) AddHost(side, name string) (Host, error) {
	index := slices.Index(o.cfg.Sides, side)
	if index < 0 {
		return nil, fmt.Errorf("host %q: there is no side %q: use one of %q", name, side, o.cfg.Sides)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, fmt.Errorf("host %q: the ocean is closed", name)
	}
	for _, h := range o.all {
		if h.side == index && h.name == name {
			return nil, fmt.Errorf("host %q: %s has one of that name already, %s", name, side, h.addr)
		}
	}
	addr, err := o.freeAddress(index)
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", name, err)
	}
	n, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", name, err)
	}
	h := &tunHost{ocean: o, name: name, side: index, addr: addr, namespace: n}
	err = n.do(func() (err error) {
		h.device, err = openInside(netip.PrefixFrom(addr, o.network.Bits()), o.cfg)
		return err
	})
	if err == nil {
		err = o.start(h)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("host %q: %w", name, err)
	}
	return h, nil
}

// freeAddress goes round, so that an address rests for as long as may be before another host gets it.
func (o *Ocean) freeAddress(side int) (netip.Addr, error) {
	for range hostsASide {
		o.used[side]++
		a := addressIn(o.network, (side+1)*sideSize+(o.used[side]-1)%hostsASide+1)
		if o.hosts[o.index(a)].Load() == nil {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all %d addresses of %s are taken", hostsASide, o.cfg.Sides[side])
}

// Set changes the ocean between all sides.
func (o *Ocean) Set(link Link) error {
	if err := link.Validate(); err != nil {
		return fmt.Errorf("the ocean: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.ocean {
		s.set(link)
	}
	var errs []error
	for _, h := range o.all {
		errs = append(errs, h.offload())
	}
	return errors.Join(errs...)
}

// SetHost changes what happens to all that a host sends.
func (o *Ocean) SetHost(host Host, link Link) error {
	h, ok := host.(*tunHost)
	if !ok || h.ocean != o || h.side < 0 {
		return fmt.Errorf("host %q is none of this ocean", host.Name())
	}
	if err := link.Validate(); err != nil {
		return fmt.Errorf("host %q: %w", h.name, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if h.closed {
		return fmt.Errorf("host %q has been removed", h.name)
	}
	h.severed.Store(link.Partition)
	h.egress.set(link)
	return h.offload()
}

// Limits says what is less true than on a real network.
func (o *Ocean) Limits() []string {
	return []string{
		"The ocean is emulated on this machine: its hosts share one kernel, one clock and the processors.",
		"Packets are lost independently of each other; real networks lose them in bursts, too.",
	}
}

// Counts says what has happened to packets so far.
func (o *Ocean) Counts() Counts {
	c := o.counters.counts()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range o.all {
		c.Overrun += h.device.overruns()
	}
	return c
}

// Close removes every host, and the way in from outside.
func (o *Ocean) Close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	hosts := slices.Clone(o.all)
	for _, h := range hosts {
		h.detach()
	}
	o.mu.Unlock()
	// The kernel takes its time for each device, but does many at once.
	errs := make([]error, len(hosts))
	var removing sync.WaitGroup
	for i, h := range hosts {
		removing.Go(func() { errs[i] = h.release() })
	}
	removing.Wait()
	for _, s := range o.ocean {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// tunHost is a host in a namespace of its own, or the machine itself.
type tunHost struct {
	ocean     *Ocean
	name      string
	side      int // -1 outside
	addr      netip.Addr
	namespace *namespace // nil outside
	device    *device
	egress    *stage[packet]
	severed   atomic.Bool   // nothing reaches it; what it sends, its egress cuts
	done      chan struct{} // closed when nothing is read from the device any more
	closed    bool
}

func (h *tunHost) Name() string     { return h.name }
func (h *tunHost) Side() string     { return h.ocean.cfg.Sides[h.side] }
func (h *tunHost) Addr() netip.Addr { return h.addr }

func (h *tunHost) Reach(_ string, port int) (string, error) {
	return netip.AddrPortFrom(h.addr, uint16(port)).String(), nil
}

func (h *tunHost) Do(f func() error) error { return h.namespace.do(f) }

func (h *tunHost) Close() error {
	h.ocean.mu.Lock()
	first := h.detach()
	h.ocean.mu.Unlock()
	if !first {
		return nil
	}
	return h.release()
}

// detach takes a host off the network, and says whether that is new. The ocean's lock is held.
func (h *tunHost) detach() bool {
	if h.closed {
		return false
	}
	h.closed = true
	o := h.ocean
	o.hosts[o.index(h.addr)].Store(nil)
	o.all = slices.DeleteFunc(o.all, func(other *tunHost) bool { return other == h })
	o.counters.dropped[overrun].Add(h.device.overruns())
	return true
}

// release removes what a detached host consists of.
func (h *tunHost) release() error {
	err := h.device.close()
	<-h.done
	err = errors.Join(err, h.egress.close())
	if h.namespace != nil {
		h.namespace.close()
	}
	return err
}

// carry takes packets from the host's device to where they go, until the device is closed.
func (h *tunHost) carry() {
	defer close(h.done)
	buf := make([]byte, largest)
	for {
		data, err := h.device.read(buf)
		if err != nil {
			return
		}
		h.route(data)
	}
}

// route looks a packet's receiver up and sends it on its way.
func (h *tunHost) route(data []byte) {
	const ipv4Header, source, destination = 20, 12, 16
	ip := data[offloadHeader:]
	if len(ip) < ipv4Header || ip[0]>>4 != 4 {
		return // no IPv4: what a kernel says of itself, unasked
	}
	o := h.ocean
	from, to := netip.AddrFrom4([4]byte(ip[source:])), netip.AddrFrom4([4]byte(ip[destination:]))
	var receiver *tunHost
	if from == h.addr && o.network.Contains(to) {
		receiver = o.hosts[o.index(to)].Load()
	}
	if receiver == nil {
		o.counters.undelivered.Add(1)
		return
	}
	h.egress.pass(packet{data: data, to: receiver})
}

// cross takes a packet that has left the host over the ocean, where that lies between.
func (h *tunHost) cross(p packet) {
	if h.side == p.to.side || h.side < 0 || p.to.side < 0 {
		h.ocean.deliver(p)
		return
	}
	h.ocean.ocean[[2]int{h.side, p.to.side}].pass(p)
}

// deliver gives a packet to its receiver.
func (o *Ocean) deliver(p packet) {
	defer p.release()
	switch {
	case p.to.severed.Load():
		o.counters.drop(cut)
	case p.to.device.write(p.data) != nil:
		o.counters.undelivered.Add(1) // the host is just being removed
	default:
		o.counters.delivered.Add(1)
	}
}

// offload says how the host's kernel hands over what it sends: many packets in one piece, or each as it would be on
// a wire where a line on its way treats them one by one.
func (h *tunHost) offload() error {
	each := h.egress.link().byPacket()
	for way, s := range h.ocean.ocean {
		each = each || way[0] == h.side && s.link().byPacket()
	}
	return h.device.offload(!each)
}
