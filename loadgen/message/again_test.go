package message

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Records that are used again are as good as new ones, whatever changes between two uses.
func TestEncodeAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, format := range formats {
		encoder := NewEncoder(format, topic, newFiller(t))
		var rec kgo.Record
		payload := Payload{Offset: 12345}
		kept := 0
		for range 5000 {
			id := someIdentity()
			id.Sequence = 1_000_000 + rng.Uint64N(1_000_000)
			if rng.IntN(10) == 0 {
				id.Sequence = rng.Uint64N(1 << rng.UintN(64))
			}
			if rng.IntN(10) == 0 {
				id.Producer = []byte("a-producer-of-another-length"[:1+rng.IntN(20)])
			}
			size := 400
			if rng.IntN(20) == 0 {
				size = rng.IntN(1000)
			}
			if rng.IntN(50) == 0 {
				rec.Value = nil // its memory was given back
			}
			before := append([]byte(nil), rec.Value...)
			encoder.EncodeAgain(&rec, id, []byte("key"), size, &payload)
			if kind, got := decode(&rec); kind != OK || got.Sequence != id.Sequence {
				t.Fatalf("%v: decoded as %v, %+v, want %+v", format, kind, got, id)
			}
			if n := len(rec.Value); n > 200 && len(before) == n && bytes.Equal(before[200:], rec.Value[200:]) {
				kept++
			}
			// A damage anywhere is found, also in what was hashed long ago.
			if len(rec.Value) > 0 {
				i := rng.IntN(len(rec.Value))
				rec.Value[i] ^= 1
				if kind, _ := decode(&rec); kind == OK {
					t.Fatalf("%v: byte %d of %d was changed and nobody noticed", format, i, len(rec.Value))
				}
				rec.Value[i] ^= 1
			}
		}
		if kept < 1000 {
			t.Errorf("%v: the payload was kept %d times of 5000", format, kept)
		}
	}
}

// Payloads at offsets beyond the block do not repeat it, and compress as they should.
func TestFillerGoesOnBeyondItsBlock(t *testing.T) {
	for _, c := range []float64{0, 0.5} {
		filler, err := NewFiller(7, c)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		// What a batch holds of two parts of the block, a lap apart.
		batch := make([]byte, 1_000_000)
		for i := 0; i < len(batch); i += 2000 {
			filler.Fill(batch[i:i+1000], uint64(i))
			filler.Fill(batch[i+1000:i+2000], uint64(i+fillerBlock))
		}
		taken := 1 - float64(len(z.EncodeAll(batch, nil)))/float64(len(batch))
		if taken < c-0.03 || taken > c+0.03 {
			t.Errorf("compressibility %v: zstd takes away %.3f", c, taken)
		}
	}
}

// The magic is found where bytes.Index finds it, also among what looks like its beginning.
func TestIndexMagic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	found := 0
	for range 50_000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = magic[rng.IntN(len(magic))]
		}
		want := bytes.Index(b, []byte(magic))
		if got := indexMagic(b); got != want {
			t.Fatalf("%q: at %d, want %d", b, got, want)
		}
		if want >= 0 {
			found++
		}
	}
	if found < 1000 {
		t.Errorf("the magic was found %d times", found)
	}
}

// Numbers are read as strconv reads them, but for what it would not write.
func TestParseUint(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	check := func(text string) {
		t.Helper()
		want, err := strconv.ParseUint(text, 10, 64)
		wantOK := err == nil && strconv.FormatUint(want, 10) == text
		if got, ok := parseUint([]byte(text)); ok != wantOK || ok && got != want {
			t.Errorf("%q: %d, %t, want %d, %t", text, got, ok, want, wantOK)
		}
	}
	for _, text := range []string{"", "0", "00", "+1", "-1", "18446744073709551615", "18446744073709551616", "99999999999999999999", "100000000000000000000", "9999999999999999", "1000000000000000000"} {
		check(text)
	}
	for range 20_000 {
		text := []byte(fmt.Sprint(rng.Uint64() >> rng.UintN(64)))
		check(string(text))
		text[rng.IntN(len(text))] = byte(rng.UintN(256)) // mostly no digit
		check(string(text))
	}
}
