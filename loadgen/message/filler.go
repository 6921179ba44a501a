package message

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Filler makes payload of a chosen compressibility out of one prepared block, without drawing random numbers for each
// record. It is immutable and safe for concurrent use.
type Filler struct {
	block []byte // its length is a power of two
}

const (
	// Larger than a producer's batch, so that not even zstd, which sees a whole batch, finds a repetition.
	fillerBlock = 4 << 20
	// Short against the windows of all compressors (32 kB and more), long against the 3 bytes or so that a run costs.
	fillerPeriod = 256
	fillerByte   = '.'
)

// NewFiller prepares the block from seed: the same seed and compressibility give the same payload. Compressibility is the
// part, 0 to 1, of the payload that a compressor can take away: at 0 all bytes are random, at 1 they are all the same.
func NewFiller(seed uint64, compressibility float64) (*Filler, error) {
	if !(compressibility >= 0 && compressibility <= 1) {
		return nil, fmt.Errorf("compressibility %v is out of range: use 0 (random bytes) to 1 (all bytes the same)", compressibility)
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	block := make([]byte, fillerBlock)
	_, _ = rand.NewChaCha8(key).Read(block) // cannot fail
	// Each period ends with a run of the same byte; the fractions of a byte add up over the periods.
	for start := 0; start < len(block); start += fillerPeriod {
		run := int(compressibility*float64(start+fillerPeriod)) - int(compressibility*float64(start))
		for i := start + fillerPeriod - run; i < start+fillerPeriod; i++ {
			block[i] = fillerByte
		}
	}
	return &Filler{block: block}, nil
}

// Fill writes payload to all of dst. Records that pass offsets in bytes which do not overlap do not repeat each other's
// payload within 1 GiB; offsets of any value are good.
func (f *Filler) Fill(dst []byte, offset uint64) {
	for len(dst) > 0 {
		n := copy(dst, f.block[offset&uint64(len(f.block)-1):])
		// Each time around, the block is another one to a compressor, with the same runs in it.
		if around := byte(offset / uint64(len(f.block))); around != 0 {
			mask := uint64(around) * 0x0101010101010101
			i := 0
			for ; i+8 <= n; i += 8 {
				binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(dst[i:])^mask)
			}
			for ; i < n; i++ {
				dst[i] ^= around
			}
		}
		dst = dst[n:]
		offset += uint64(n)
	}
}
