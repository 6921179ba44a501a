package ocean

import "sync/atomic"

// Counts is what a Network's emulator has done to packets since its start. Many packets of a flow count as one
// where the kernel hands them over in one piece.
type Counts struct {
	Delivered   uint64 // to a host
	Lost        uint64 // by chance, as Link.Loss has it
	Cut         uint64 // by a partition
	Tail        uint64 // by a full queue for the bandwidth
	Overrun     uint64 // because the emulator did not keep up: none of these should have been lost
	Undelivered uint64 // for an address that no host has
}

type counters struct {
	delivered, undelivered atomic.Uint64
	dropped                [outcomes]atomic.Uint64
}

func (c *counters) drop(why outcome) { c.dropped[why].Add(1) }

func (c *counters) counts() Counts {
	return Counts{
		Delivered: c.delivered.Load(), Undelivered: c.undelivered.Load(),
		Lost: c.dropped[lost].Load(), Cut: c.dropped[cut].Load(),
		Tail: c.dropped[tail].Load(), Overrun: c.dropped[overrun].Load(),
	}
}
