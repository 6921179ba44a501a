package message

import (
	"bytes"
	"compress/flate"
	"math"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestCompressibility(t *testing.T) {
	// A batch of consecutive records of a stream, as a producer would compress it.
	for _, c := range []float64{0, 0.25, 0.5, 0.9, 0.99, 1} {
		filler, err := NewFiller(7, c)
		if err != nil {
			t.Fatal(err)
		}
		encoder := NewEncoder(FormatHeaders, topic, filler)
		var batch []byte
		var rec kgo.Record
		id := someIdentity()
		for len(batch) < 1_000_000 {
			encoder.Encode(&rec, id, nil, 1000)
			batch = append(batch, rec.Value...)
			id.Sequence++
		}
		var deflated bytes.Buffer
		w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range map[string]int{"deflate": deflated.Len(), "zstd": len(z.EncodeAll(batch, nil))} {
			taken := 1 - float64(n)/float64(len(batch))
			if math.Abs(taken-c) > 0.03 {
				t.Errorf("compressibility %v: %s takes away %.3f", c, name, taken)
			}
		}
	}
}

func TestFillerExtremes(t *testing.T) {
	same, err := NewFiller(7, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100_000)
	same.Fill(b, 12345)
	if !bytes.Equal(b, bytes.Repeat([]byte{fillerByte}, len(b))) {
		t.Error("at 1 not all bytes are the same")
	}
	for _, c := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		if _, err := NewFiller(7, c); err == nil {
			t.Errorf("compressibility %v is accepted", c)
		}
	}
}

func TestFillerIsDeterministic(t *testing.T) {
	fill := func(seed, offset uint64) []byte {
		f, err := NewFiller(seed, 0.3)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		f.Fill(b, offset)
		return b
	}
	if !bytes.Equal(fill(1, 5), fill(1, 5)) {
		t.Error("the same seed gives other bytes")
	}
	if bytes.Equal(fill(1, 5), fill(2, 5)) || bytes.Equal(fill(1, 5), fill(1, 6)) {
		t.Error("another seed or offset gives the same bytes")
	}
	// Parts fit together, also around the end of the block and of the offsets.
	f, err := NewFiller(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []uint64{0, fillerBlock - 10, math.MaxUint64 - 9} {
		whole, parts := make([]byte, 3*fillerBlock), make([]byte, 3*fillerBlock)
		f.Fill(whole, offset)
		f.Fill(parts[:7], offset)
		f.Fill(parts[7:], offset+7)
		if !bytes.Equal(whole, parts) {
			t.Errorf("offset %d: the parts differ from the whole", offset)
		}
	}
}
