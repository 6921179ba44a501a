// Package ocean is the network of the lab: sides, such as source and destination, each with hosts of their
// own addresses, and an ocean between the sides.
//
// There are two kinds behind the same interface, Network. An Ocean, which needs root on Linux,
// gives each host a network namespace whose only way out is a TUN device; one emulator in this process joins
// the devices as a router would and applies delay, jitter, loss, bandwidth and partition to the packets: those
// of the whole ocean to what goes from one side to another, those of a host to all that it sends, to hosts of
// its own side too. Proxies need no rights: they are TCP proxies on the loopback interface, and Limits says
// what is less true then.
//
// Where a kernel has sch_netem, tc could do the ocean's part; many kernels for small machines have not, and it
// knows nothing of partitions, so nothing here uses it.
//
// Nothing of it outlives this process, however it ends: namespaces have no names and devices are not
// persistent, so the kernel removes both with the last process in them.
package ocean

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// The sides that an ocean has by default, and what is on neither: the process that made it, and all else on
// the machine. From Outside every host is reached without crossing the ocean.
const (
	Source      = "source"
	Destination = "destination"
	Outside     = "outside"
)

// ErrUnavailable is wrapped by errors that say what this machine, or this kind of network, has not the means for.
var ErrUnavailable = errors.New("not available here")

// Link is what happens to packets on their way. The zero value is a perfect line.
type Link struct {
	// Delay is how long each packet takes, one way.
	Delay time.Duration
	// Jitter varies the delay of each packet evenly between Delay-Jitter and Delay+Jitter; at most Delay.
	Jitter time.Duration
	// Reorder lets a packet with a short delay overtake one with a long one. Without it each packet leaves
	// after the one before it, as on a real path, so that under load jitter tends to Delay+Jitter.
	Reorder bool
	// Loss is the share of packets that get lost, in percent, each independently of the others.
	Loss float64
	// Bandwidth is what passes at most, in bytes of IP packets per second; 0 is without limit. All that takes
	// the line shares it.
	Bandwidth int64
	// Queue is how many bytes wait for the bandwidth at most; what comes on top is dropped (drop tail).
	// 0 is DefaultQueue's.
	Queue int64
	// Partition lets nothing pass: packets vanish, nobody gets an error.
	Partition bool
}

// DefaultQueue is the queue of a line that has none of its own: what the bandwidth carries in two delays, and in
// no less than 100 ms, and at least 256 KiB. One TCP flow can then fill the pipe.
func (l Link) DefaultQueue() int64 {
	return max(256<<10, int64(float64(l.Bandwidth)*max(2*l.Delay, 100*time.Millisecond).Seconds()))
}

// maxDelay bounds what the emulator has to hold.
const maxDelay = time.Minute

// Validate returns every mistake at once, or nil.
func (l Link) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if l.Delay < 0 || l.Delay > maxDelay {
		refuse("delay is %s: must be 0s to %s", l.Delay, maxDelay)
	}
	if l.Jitter < 0 || l.Jitter > l.Delay {
		refuse("jitter is %s: must be 0s to the delay, %s", l.Jitter, l.Delay)
	}
	if !(l.Loss >= 0 && l.Loss <= 100) {
		refuse("loss is %v: must be 0 to 100 percent", l.Loss)
	}
	if l.Bandwidth < 0 {
		refuse("bandwidth is %d: must be bytes per second, or 0 for no limit", l.Bandwidth)
	}
	switch {
	case l.Queue < 0:
		refuse("queue is %d: must be bytes, or 0 for the default", l.Queue)
	case l.Queue > 0 && l.Bandwidth == 0:
		refuse("queue is %d: nothing waits without a bandwidth: give one, or leave the queue out", l.Queue)
	}
	return errors.Join(errs...)
}

// byPacket says whether the line treats packets one by one: it must then see them as they would be on a wire,
// and not many of them in one piece as the kernel hands them over otherwise.
func (l Link) byPacket() bool { return l.Loss > 0 || l.Bandwidth > 0 }

// Config says what network to make.
type Config struct {
	// Sides are the names of the sides, 1 to 14; default source and destination.
	Sides []string
	// Link is the ocean between each two sides, each way; default 40 ms of delay.
	Link Link
	// MTU of every host's device, 576 to 65535; default 8500, as between two regions of AWS. It is also the size
	// of what gets lost at once.
	MTU int
	// CongestionControl is the hosts' TCP congestion control; empty is the machine's.
	CongestionControl string
	// SocketBuffer is up to how many bytes the kernel may tune a TCP socket's buffers in the hosts; 0 is the
	// machine's own. A flow needs about two round trips' worth of data in each of its buffers.
	SocketBuffer int
	// Seed of what is random, loss and jitter; 0 is another one each time.
	Seed uint64
}

// SetDefaults fills a fresh Config.
func (c *Config) SetDefaults() {
	*c = Config{Sides: []string{Source, Destination}, Link: Link{Delay: 40 * time.Millisecond}, MTU: 8500}
}

// seed is the one asked for, or a random one.
func (c *Config) seed() uint64 {
	if c.Seed != 0 {
		return c.Seed
	}
	return rand.Uint64()
}

// maxSides is bounded by the addresses of one network.
const maxSides = 14

// Validate returns every mistake at once, or nil.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Sides) < 1 || len(c.Sides) > maxSides {
		refuse("sides: %d of them: must be 1 to %d", len(c.Sides), maxSides)
	}
	seen := map[string]bool{}
	for _, s := range c.Sides {
		switch {
		case s == "" || s == Outside:
			refuse("sides: %q is no name for a side: use another, such as %q", s, Source)
		case seen[s]:
			refuse("sides: %q is named twice", s)
		}
		seen[s] = true
	}
	if err := c.Link.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.MTU < 576 || c.MTU > 65535 {
		refuse("mtu is %d: must be 576 to 65535 bytes", c.MTU)
	}
	if c.SocketBuffer != 0 && (c.SocketBuffer < 64<<10 || c.SocketBuffer > 1<<30) {
		refuse("socket buffer is %d: must be 64 KiB to 1 GiB, or 0 for the machine's own", c.SocketBuffer)
	}
	return errors.Join(errs...)
}

// Network is sides with hosts, and an ocean between them. Its methods may be called by several goroutines.
type Network interface {
	// AddHost makes a host with an address of its own. Names are for people; no two of a side are equal.
	AddHost(side, name string) (Host, error)
	// Set changes the ocean between all sides, for packets that enter it from now on. Those that are on
	// their way arrive as they would have, unless a partition swallows them.
	Set(Link) error
	// SetHost puts a line before all that a host sends, wherever it goes, on top of the ocean. Partition is
	// for both ways. The zero Link ends it.
	SetHost(Host, Link) error
	// Limits says what is less true on this network than on a real one, each a sentence for the report.
	Limits() []string
	// Close removes every host and the network. Processes in hosts should have ended before.
	Close() error
}

// Host is one machine of a side: a broker's, a worker's, a load tool's.
type Host interface {
	Name() string
	Side() string
	// Addr is the address on which its processes listen, and from which those in an Ocean send.
	Addr() netip.Addr
	// Do calls f on a thread inside the host's network. Processes that f starts, and sockets that it makes,
	// are the host's; goroutines that it starts are not. The thread lives as long as the host, so a
	// process started with Pdeathsig ends with the host at the latest. f should not take long: it holds up
	// the next.
	Do(f func() error) error
	// Reach returns the address, host:port, at which clients on side from, or Outside, reach a TCP port on which
	// one of the host's processes listens or is going to listen. In an Ocean that is the same for all.
	Reach(from string, port int) (string, error)
	// Close removes the host. Its address is not given out again soon.
	Close() error
}
