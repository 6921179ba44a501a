package ocean

import "sync"

// packet is what a TUN device gave: a header of the kernel's for offloads, and an IP packet.
type packet struct {
	data []byte
	to   *tunHost
	buf  *buffer // what data is part of; nil for what is the reader's own, and must be copied to be kept
}

func (p packet) size() int { return len(p.data) - offloadHeader }

func (p packet) keep() packet {
	if p.buf == nil {
		p.buf = p.to.ocean.buffers.get(len(p.data))
		p.data = p.buf.space[:copy(p.buf.space, p.data)]
	}
	return p
}

func (p packet) release() {
	if p.buf != nil {
		p.buf.pool.Put(p.buf)
	}
}

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
