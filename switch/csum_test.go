package vswitch

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// naiveChecksum is RFC 1071 to the letter, one 16-bit word at a time.
func naiveChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return ^uint16(sum)
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// randomPieces cuts b into pieces of random lengths, some of them empty.
func randomPieces(rnd *rand.Rand, b []byte, most int) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := min(rnd.IntN(most+1), len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

func TestChecksumEveryLength(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	b := randomBytes(rnd, 600)
	for n := range len(b) {
		for start := range 9 {
			if start > n {
				break
			}
			var c checksum
			c.add(b[start:n])
			if got, want := c.field(), naiveChecksum(b[start:n]); got != want {
				t.Fatalf("b[%d:%d]: %#04x, want %#04x", start, n, got, want)
			}
		}
	}
}

func TestChecksumOfPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		b := randomBytes(rnd, rnd.IntN(3000))
		var c checksum
		c.addAll(randomPieces(rnd, b, 1+rnd.IntN(700)))
		if got, want := c.field(), naiveChecksum(b); got != want {
			t.Fatalf("%d bytes: %#04x, want %#04x", len(b), got, want)
		}
	}
}

// With all bits set, a lost carry changes the result.
func TestChecksumOfOnesKeepsItsCarries(t *testing.T) {
	b := make([]byte, 65536)
	for i := range b {
		b[i] = 0xff
	}
	for n := 0; n <= len(b); n += 1 + n/9 {
		for _, first := range []int{0, 1, 7, 8, 129} {
			first = min(first, n)
			var c checksum
			c.add(b[:first])
			c.add(b[first:n])
			if got, want := c.field(), naiveChecksum(b[:n]); got != want {
				t.Fatalf("%d+%d bytes: %#04x, want %#04x", first, n-first, got, want)
			}
		}
	}
}

func TestChecksumFields(t *testing.T) {
	var c checksum
	for _, v := range []uint16{0x1234, 0xffff, 0x8001, 0} {
		c.addField(v)
	}
	c.addField(^uint16(0x8001))
	if got, want := c.field(), naiveChecksum([]byte{0x12, 0x34}); got != want {
		t.Fatalf("%#04x, want %#04x", got, want)
	}
	c = checksum{}
	c.addField(0xffff)
	if c.field() != 0 || c.fieldOrOnes() != 0xffff {
		t.Fatalf("%#04x %#04x", c.field(), c.fieldOrOnes())
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 64, 1448, 1500, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := randomBytes(rand.New(rand.NewPCG(3, 3)), n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				var c checksum
				c.add(buf)
				checksumSink = c.field()
			}
		})
	}
}

var checksumSink uint16
