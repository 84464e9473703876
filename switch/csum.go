package vswitch

import (
	"encoding/binary"
	"math/bits"
)

// A checksum is an Internet checksum (RFC 1071) while it is being computed. The zero value is the
// sum of no bytes.
//
// The sum has 64 bits with end-around carry, from which the 16-bit sum can be computed: 2^64-1 is a
// multiple of 2^16-1. It is a sum of little-endian words, although the checksum is defined on
// big-endian words: the results differ by a swap of the bytes (RFC 1071, section 2 (B)), and common
// machines load little-endian words without a swap.
type checksum struct {
	sum uint64
	odd bool // an odd number of bytes has been added so far
}

// add adds the bytes of b, at any place in the sequence. b may change while it is read; then the
// sum is wrong, but nothing else happens.
func (c *checksum) add(b []byte) {
	if !c.odd {
		c.sum = sumWords(c.sum, b)
	} else {
		// The even bytes of b are odd bytes of the sequence. Rotating by 8 bits is a multiplication
		// by 2^8 modulo 2^16-1, which swaps the even and the odd bytes.
		c.addSum(bits.RotateLeft64(sumWords(0, b), 8))
	}
	c.odd = c.odd != (len(b)&1 != 0)
}

// addAll adds all pieces in order.
func (c *checksum) addAll(pieces [][]byte) {
	for _, b := range pieces {
		c.add(b)
	}
}

// join adds the bytes of another checksum, behind those of c.
func (c *checksum) join(behind checksum) {
	if c.odd {
		behind.sum = bits.RotateLeft64(behind.sum, 8)
	}
	c.addSum(behind.sum)
	c.odd = c.odd != behind.odd
}

// addField adds a 16-bit field of a header, given as a number; the field lies at an even offset.
// Adding ^v subtracts v.
func (c *checksum) addField(v uint16) {
	c.addSum(uint64(bits.ReverseBytes16(v)))
}

func (c *checksum) addSum(s uint64) {
	sum, carry := bits.Add64(c.sum, s, 0)
	c.sum = sum + carry
}

// field returns what goes into a checksum field: the complement of the sum, as a number to be
// stored big-endian.
func (c *checksum) field() uint16 {
	s := c.sum>>32 + c.sum&0xffff_ffff
	s = s>>32 + s&0xffff_ffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^bits.ReverseBytes16(uint16(s))
}

// fieldOrOnes returns the same as field, except for 0xffff instead of 0: both represent zero, and 0
// in a UDP header means that there is no checksum (RFC 768).
func (c *checksum) fieldOrOnes() uint16 {
	if v := c.field(); v != 0 {
		return v
	}
	return 0xffff
}

// sumWords adds b, padded with a zero byte to an even length, to sum. The carry of each addition
// goes into the next one, so that each word costs one addition; with 128 bytes for each iteration,
// the cost of the loop is negligible.
func sumWords(sum uint64, b []byte) uint64 {
	le := binary.LittleEndian
	var c uint64
	for len(b) >= 128 {
		p := (*[128]byte)(b)
		sum, c = bits.Add64(sum, le.Uint64(p[0:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[8:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[16:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[24:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[32:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[40:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[48:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[56:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[64:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[72:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[80:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[88:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[96:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[104:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[112:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[120:]), c)
		b = b[128:]
	}
	for len(b) >= 32 {
		p := (*[32]byte)(b)
		sum, c = bits.Add64(sum, le.Uint64(p[0:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[8:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[16:]), c)
		sum, c = bits.Add64(sum, le.Uint64(p[24:]), c)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, c = bits.Add64(sum, le.Uint64(b), c)
		b = b[8:]
	}
	var last uint64
	if len(b) >= 4 {
		last = uint64(le.Uint32(b))
		b = b[4:]
		for i, v := range b {
			last |= uint64(v) << (32 + 8*i)
		}
	} else {
		for i, v := range b {
			last |= uint64(v) << (8 * i)
		}
	}
	sum, c = bits.Add64(sum, last, c)
	// If there is another carry, sum is 0, and adding the carry cannot overflow.
	sum, c = bits.Add64(sum, 0, c)
	return sum + c
}
