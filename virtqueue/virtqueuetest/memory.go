package virtqueuetest

import (
	"fmt"
	"math/bits"
)

// An arena allocates buffers from a range of guest-physical memory, in sizes that are powers of
// two, and reuses freed buffers.
type arena struct {
	at, end uint64
	free    [33][]uint64 // by the logarithm of the size
}

func (a *arena) alloc(n int) (Buf, bool) {
	if n < 1 || int64(n) > 1<<32-1 {
		panic(fmt.Sprintf("virtqueuetest: buffer of %d bytes", n))
	}
	class := max(4, bits.Len(uint(n-1)))
	if f := a.free[class]; len(f) > 0 {
		a.free[class] = f[:len(f)-1]
		return Buf{Addr: f[len(f)-1], Len: uint32(n)}, true
	}
	if a.at+1<<class > a.end {
		return Buf{}, false
	}
	b := Buf{Addr: a.at, Len: uint32(n)}
	a.at += 1 << class
	return b, true
}

// Room provides the n bytes from guest-physical address addr to Alloc and AddIndirect.
func (d *Driver) Room(addr, n uint64) {
	d.room = arena{at: (addr + 15) &^ 15, end: addr + n}
}

// Alloc returns a buffer of n bytes, aligned to 16. It panics when there is no room for the buffer:
// the caller decided how much room there is.
func (d *Driver) Alloc(n int) Buf {
	b, ok := d.room.alloc(n)
	if !ok {
		panic(fmt.Sprintf("virtqueuetest: no room for %d bytes", n))
	}
	return b
}

// FreeBuf returns buffers to Alloc.
func (d *Driver) FreeBuf(bufs ...Buf) {
	for _, b := range bufs {
		class := max(4, bits.Len32(b.Len-1))
		d.room.free[class] = append(d.room.free[class], b.Addr)
	}
}

// Bytes returns the memory of a buffer. It panics when the buffer does not lie in one region.
func (d *Driver) Bytes(b Buf) []byte {
	s := d.piece(b.Addr, uint64(b.Len))
	if len(s) < int(b.Len) {
		panic(fmt.Sprintf("virtqueuetest: %d bytes at %#x are not in one region", b.Len, b.Addr))
	}
	return s
}

// Write copies p to guest-physical address addr, across regions if need be.
func (d *Driver) Write(addr uint64, p []byte) {
	for len(p) > 0 {
		n := copy(d.mustPiece(addr, uint64(len(p))), p)
		p, addr = p[n:], addr+uint64(n)
	}
}

// Read returns a copy of a buffer, across regions if need be.
func (d *Driver) Read(b Buf) []byte {
	p := make([]byte, 0, b.Len)
	for len(p) < int(b.Len) {
		p = append(p, d.mustPiece(b.Addr+uint64(len(p)), uint64(int(b.Len)-len(p)))...)
	}
	return p
}

func (d *Driver) mustPiece(addr, n uint64) []byte {
	s := d.piece(addr, n)
	if len(s) == 0 {
		panic(fmt.Sprintf("virtqueuetest: no memory at %#x", addr))
	}
	return s
}

// piece returns as much of the n bytes at addr as lies in one region.
func (d *Driver) piece(addr, n uint64) []byte {
	for _, r := range d.mem.Regions() {
		if off := addr - r.GuestAddr; off < uint64(len(r.Mem)) {
			return r.Mem[off:][:min(n, uint64(len(r.Mem))-off)]
		}
	}
	return nil
}
