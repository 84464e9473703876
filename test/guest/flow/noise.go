package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// streamSeed is that of a TCP stream's noise. A datagram's seed is its number.
const streamSeed = 1 << 63

// noise is a sequence of bytes that either end can make.
type noise struct{ pcg *rand.PCG }

func newNoise(seed uint64) noise { return noise{rand.NewPCG(seed, 0)} }

// fill writes the next bytes of the sequence. Except in the last call, b's length has to be a
// multiple of 8.
func (n noise) fill(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, n.pcg.Uint64())
	}
	if len(b) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], n.pcg.Uint64())
		copy(b, last[:])
	}
}

// datagramLen is the length of the shortest datagram: its number, big-endian.
const datagramLen = 8

// fillDatagram makes b the datagram with number i.
func fillDatagram(b []byte, i int) {
	binary.BigEndian.PutUint64(b, uint64(i))
	newNoise(uint64(i)).fill(b[datagramLen:])
}

// checkDatagram returns a datagram's number. It uses want, which has the length that the datagram
// should have.
func checkDatagram(b, want []byte) (i int, err error) {
	if len(b) != len(want) {
		return 0, fmt.Errorf("a datagram has %d bytes, had %d", len(b), len(want))
	}
	n := binary.BigEndian.Uint64(b)
	fillDatagram(want, int(n))
	if !bytes.Equal(b, want) {
		return 0, fmt.Errorf("datagram %d has changed", n)
	}
	return int(n), nil
}
