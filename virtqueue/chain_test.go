package virtqueue_test

import (
	"fmt"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
)

// Tests of the rules for a single chain. Each is named after the attack, or the mistake,
// that it stands for.

// pieces checks the lengths of a chain's pieces.
func pieces(t *testing.T, what string, segs [][]byte, want ...int) {
	t.Helper()
	var got []int
	for _, s := range segs {
		got = append(got, len(s))
		if cap(s) != len(s) {
			t.Errorf("%s: piece of %d bytes can be extended to %d", what, len(s), cap(s))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s pieces are %v bytes, want %v", what, got, want)
	}
}

func TestDirectChain(t *testing.T) {
	g := newGuest(t, 8, 0)
	in, out := []buf{g.Alloc(10), g.Alloc(20)}, []buf{g.Alloc(30), g.Alloc(40), g.Alloc(50)}
	head, _ := g.Build(in, out)
	c := g.offer(t, head)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	pieces(t, "readable", c.Readable, 10, 20)
	pieces(t, "writable", c.Writable, 30, 40, 50)
	for i, b := range append(in, out...) {
		if s := append(append([][]byte{}, c.Readable...), c.Writable...)[i]; !sameMemory(s, g.Bytes(b)) {
			t.Errorf("piece %d is not the buffer", i)
		}
	}
	// Editing one list must not reach into the other.
	w := c.Writable[0]
	c.Readable = append(c.Readable, nil)
	if !sameMemory(c.Writable[0], w) {
		t.Error("the lists share room to grow")
	}
}

func TestIndirectChain(t *testing.T) {
	g := newGuest(t, 2, indirect)
	in, out := []buf{g.Alloc(10), g.Alloc(20)}, []buf{g.Alloc(30), g.Alloc(40), g.Alloc(50)}
	head, err := g.BuildIndirect(in, out)
	if err != nil {
		t.Fatal(err)
	}
	c := g.offer(t, head)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	pieces(t, "readable", c.Readable, 10, 20)
	pieces(t, "writable", c.Writable, 30, 40, 50)
	if !sameMemory(c.Writable[2], g.Bytes(out[2])) {
		t.Error("the last piece is not the buffer")
	}
}

// "zero or more normal chained descriptors followed by a single descriptor with
// VIRTQ_DESC_F_INDIRECT" (2.7.5.3.2)
func TestIndirectBehindDirect(t *testing.T) {
	g := newGuest(t, 8, indirect)
	b := g.Alloc(64)
	table := g.Alloc(32)
	g.Write(table.Addr, desc{b.Addr, 3, flagNext, 1}.Append(nil))
	g.Write(table.Addr+16, desc{b.Addr, 4, flagWrite, 0}.Append(nil))
	g.SetDesc(0, desc{b.Addr, 1, flagNext, 5})
	g.SetDesc(5, desc{b.Addr, 2, flagNext, 6})
	// "The device MUST ignore the write-only flag in the descriptor that refers to an
	// indirect table."
	g.SetDesc(6, desc{table.Addr, 32, flagIndirect | flagWrite, 0})
	c := g.offer(t, 0)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	pieces(t, "readable", c.Readable, 1, 2, 3)
	pieces(t, "writable", c.Writable, 4)
}

// A chain of exactly as many descriptors as the table has is legal.
func TestChainOfWholeTable(t *testing.T) {
	for size := 1; size <= virtqueue.MaxSize; size *= 2 {
		g := newGuestWith(t, size, 0, region(0, 4096))
		bufs := make([]buf, size)
		for i := range bufs {
			bufs[i] = buf{Addr: uint64(i % 4096), Len: 1}
		}
		head, err := g.Build(nil, bufs)
		if err != nil {
			t.Fatal(err)
		}
		c := g.offer(t, head)
		if c.Err != nil || len(c.Writable) != size || len(c.Readable) != 0 {
			t.Fatalf("size %d: %d + %d pieces, %v", size, len(c.Readable), len(c.Writable), c.Err)
		}
	}
}

func TestNextOutsideTable(t *testing.T) {
	for _, next := range []uint16{8, 9, 0x7fff, 0xffff} {
		g := newGuest(t, 8, 0)
		g.SetDesc(0, desc{g.Alloc(64).Addr, 64, flagNext, next})
		g.refuses(t, 0, virtqueue.ErrNext)
	}
	// The largest table uses all indices of 15 bits; the next index needs 16.
	g := newGuestWith(t, virtqueue.MaxSize, 0, region(0, 4096))
	g.SetDesc(0, desc{0, 64, flagNext, virtqueue.MaxSize})
	g.refuses(t, 0, virtqueue.ErrNext)
}

func TestLoops(t *testing.T) {
	for _, dir := range []uint16{0, flagWrite} {
		t.Run(fmt.Sprintf("self/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 8, 0)
			g.SetDesc(3, desc{g.Alloc(64).Addr, 64, flagNext | dir, 3})
			g.refuses(t, 3, virtqueue.ErrLoop)
		})
		t.Run(fmt.Sprintf("two/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 8, 0)
			a := g.Alloc(64).Addr
			g.SetDesc(0, desc{a, 64, flagNext | dir, 1})
			g.SetDesc(1, desc{a, 64, flagNext | dir, 0})
			g.refuses(t, 0, virtqueue.ErrLoop)
		})
		t.Run(fmt.Sprintf("tail/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 4, 0)
			a := g.Alloc(64).Addr
			for i := range uint16(4) {
				g.SetDesc(i, desc{a, 64, flagNext | dir, min(i+1, 3)})
			}
			g.refuses(t, 0, virtqueue.ErrLoop)
		})
		t.Run(fmt.Sprintf("size 1/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 1, 0)
			g.SetDesc(0, desc{g.Alloc(64).Addr, 64, flagNext | dir, 0})
			g.refuses(t, 0, virtqueue.ErrLoop)
		})
		t.Run(fmt.Sprintf("indirect self/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 8, indirect)
			g.table(0, desc{g.Alloc(64).Addr, 64, flagNext | dir, 0})
			g.refuses(t, 0, virtqueue.ErrLoop)
		})
		t.Run(fmt.Sprintf("indirect/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 8, indirect)
			a := g.Alloc(64).Addr
			g.table(0, desc{a, 64, flagNext | dir, 1}, desc{a, 64, flagNext | dir, 2}, desc{a, 64, flagNext | dir, 1})
			g.refuses(t, 0, virtqueue.ErrLoop)
		})
		// A walk that only counts bytes never ends here.
		t.Run(fmt.Sprintf("zero length/dir=%d", dir), func(t *testing.T) {
			g := newGuest(t, 8, indirect)
			a := g.Alloc(64).Addr
			g.SetDesc(0, desc{a, 0, flagNext | dir, 0})
			g.refuses(t, 0, virtqueue.ErrZeroLen)
			g.table(1, desc{a, 0, flagNext | dir, 0})
			g.refuses(t, 1, virtqueue.ErrZeroLen)
		})
	}
}

// table makes descriptor i an indirect one with the given table.
func (g *guest) table(i uint16, descs ...desc) buf {
	t := g.Alloc(16 * len(descs))
	var p []byte
	for _, d := range descs {
		p = d.Append(p)
	}
	g.Write(t.Addr, p)
	g.SetDesc(i, desc{t.Addr, t.Len, flagIndirect, 0})
	return t
}

func TestZeroLength(t *testing.T) {
	g := newGuest(t, 8, indirect)
	a := g.Alloc(64).Addr
	for _, addr := range []uint64{a, 0, math.MaxUint64} { // a valid address and invalid ones
		// Puts the zero-length buffer into the region of the last valid buffer, which is
		// looked at first.
		g.SetDesc(0, desc{a, 64, 0, 0})
		if c := g.offer(t, 0); c.Err != nil {
			t.Fatal(c.Err)
		}
		g.SetDesc(0, desc{addr, 0, 0, 0})
		g.refuses(t, 0, virtqueue.ErrZeroLen)
		g.SetDesc(0, desc{addr, 0, flagWrite, 0})
		g.refuses(t, 0, virtqueue.ErrZeroLen)
		g.SetDesc(0, desc{a, 64, flagNext, 1})
		g.SetDesc(1, desc{addr, 0, 0, 0})
		g.refuses(t, 0, virtqueue.ErrZeroLen)
		g.table(2, desc{addr, 0, 0, 0})
		g.refuses(t, 2, virtqueue.ErrZeroLen)
	}
}

func TestReadableBehindWritable(t *testing.T) {
	g := newGuest(t, 8, indirect)
	a := g.Alloc(64).Addr
	g.SetDesc(0, desc{a, 1, flagNext, 1})
	g.SetDesc(1, desc{a, 1, flagNext | flagWrite, 2})
	g.SetDesc(2, desc{a, 1, 0, 0})
	g.refuses(t, 0, virtqueue.ErrDirection)
	g.refuses(t, 1, virtqueue.ErrDirection)

	g.table(3, desc{a, 1, flagNext | flagWrite, 1}, desc{a, 1, 0, 0})
	g.refuses(t, 3, virtqueue.ErrDirection)

	// The order holds across the border between table and indirect table.
	g.SetDesc(4, desc{a, 1, flagNext | flagWrite, 5})
	g.table(5, desc{a, 1, 0, 0})
	g.refuses(t, 4, virtqueue.ErrDirection)
}

func TestIndirectNotNegotiated(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.table(0, desc{g.Alloc(64).Addr, 64, 0, 0})
	g.refuses(t, 0, virtqueue.ErrIndirect)
}

func TestIndirectNested(t *testing.T) {
	g := newGuest(t, 8, indirect)
	inner := g.table(0, desc{g.Alloc(64).Addr, 64, 0, 0})
	outer := g.table(1, desc{inner.Addr, inner.Len, flagIndirect, 0})
	g.refuses(t, 1, virtqueue.ErrIndirect)
	// A table that contains itself.
	g.Write(outer.Addr, desc{outer.Addr, outer.Len, flagIndirect, 0}.Append(nil))
	g.refuses(t, 1, virtqueue.ErrIndirect)
}

func TestIndirectWithNext(t *testing.T) {
	g := newGuest(t, 8, indirect)
	a := g.Alloc(64).Addr
	table := g.table(0, desc{a, 64, 0, 0})
	g.SetDesc(0, desc{table.Addr, table.Len, flagIndirect | flagNext, 1})
	g.SetDesc(1, desc{a, 64, 0, 0})
	g.refuses(t, 0, virtqueue.ErrIndirect)
}

func TestIndirectTableSize(t *testing.T) {
	g := newGuestWith(t, 8, indirect, region(0, 2*16*virtqueue.MaxIndirect))
	for i := range uint64(2 * virtqueue.MaxIndirect) {
		g.Write(16*i, desc{0, 1, flagNext, uint16(i + 1)}.Append(nil))
	}
	for _, n := range []uint32{0, 1, 15, 17, 24, 16*virtqueue.MaxIndirect + 16, 2 * 16 * virtqueue.MaxIndirect, math.MaxUint32, math.MaxUint32 - 15} {
		g.SetDesc(0, desc{0, n, flagIndirect, 0})
		g.refuses(t, 0, virtqueue.ErrIndirect)
	}
	// The largest one is legal.
	g.Write(16*(virtqueue.MaxIndirect-1), desc{0, 1, 0, 0}.Append(nil))
	g.SetDesc(0, desc{0, 16 * virtqueue.MaxIndirect, flagIndirect, 0})
	if c := g.offer(t, 0); c.Err != nil || len(c.Readable) != virtqueue.MaxIndirect {
		t.Fatalf("%d pieces, %v", len(c.Readable), c.Err)
	}
}

// A link out of an indirect table is refused even if the queue's table, or the memory after the
// indirect table, has a descriptor at that index.
func TestIndirectBoundByOwnCount(t *testing.T) {
	g := newGuest(t, 256, indirect)
	a := g.Alloc(64).Addr
	for _, next := range []uint16{2, 3, 255, 0xffff} {
		g.table(0, desc{a, 64, flagNext, next}, desc{a, 64, 0, 0})
		g.refuses(t, 0, virtqueue.ErrNext)
	}
	// A loop in a short table ends after the table's number of descriptors.
	g.table(0, desc{a, 64, flagNext, 1}, desc{a, 64, flagNext, 0})
	g.refuses(t, 0, virtqueue.ErrLoop)
	// Unused entries after the last descriptor of the chain do not matter.
	g.table(0, desc{a, 64, 0, 0}, desc{1, 0, flagNext | flagIndirect, 77})
	if c := g.offer(t, 0); c.Err != nil || len(c.Readable) != 1 {
		t.Fatal(c.Err)
	}
}

// The table is neither aligned nor in one region.
func TestIndirectStraddlesRegions(t *testing.T) {
	g := newGuestWith(t, 8, indirect, region(0x1000, 0x1000), region(0x2000, 0x1000), region(0x9000, 0x1000))
	at := uint64(0x2000 - 24) // the boundary cuts the second descriptor in the middle
	var p []byte
	for i := range uint16(3) {
		p = desc{0x9000 + uint64(i), 1, flagNext, i + 1}.Append(p)
	}
	p = desc{0x9010, 7, flagWrite, 0}.Append(p)
	g.Write(at, p)
	g.SetDesc(0, desc{at, 64, flagIndirect, 0})
	c := g.offer(t, 0)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	pieces(t, "readable", c.Readable, 1, 1, 1)
	pieces(t, "writable", c.Writable, 7)
	if !sameMemory(c.Writable[0], g.Bytes(buf{Addr: 0x9010, Len: 7})) {
		t.Error("the last piece is not the buffer")
	}
}

// All of an indirect table has to be guest memory, not only its beginning.
func TestIndirectTableOutsideMemory(t *testing.T) {
	g := newGuestWith(t, 8, indirect, region(0x1000, 0x1000))
	g.Write(0x1000, desc{0x1000, 1, 0, 0}.Append(nil))
	g.Write(0x2000-16, desc{0x1000, 1, 0, 0}.Append(nil))
	for _, d := range []desc{
		{0x0ff0, 32, flagIndirect, 0},
		{0x2000 - 16, 32, flagIndirect, 0},
		{0x2000, 16, flagIndirect, 0},
		{math.MaxUint64 - 15, 32, flagIndirect, 0},
	} {
		g.SetDesc(0, d)
		g.refuses(t, 0, virtqueue.ErrAddress)
	}
}

func TestBufferOutsideMemory(t *testing.T) {
	top := uint64(math.MaxUint64 - 0xfff) // the last page
	g := newGuestWith(t, 8, 0, region(0x1000, 0x1000), region(0x3000, 0x1000), region(top, 0x1000))
	for _, d := range []desc{
		{0, 1, 0, 0},
		{0xfff, 2, 0, 0},                   // begins before a region
		{0x1fff, 2, 0, 0},                  // ends in a gap
		{0x1000, 0x2001, 0, 0},             // spans the gap
		{0x2000, 1, 0, 0},                  // is in the gap
		{0x4000, 1, flagWrite, 0},          // is behind a region
		{0x1000, math.MaxUint32 - 1, 0, 0}, // is far too long
		{math.MaxUint64, 2, 0, 0},          // wraps around the address space
		{top, 0x1001, flagWrite, 0},        // wraps around, too
		{1 << 63, 0x1000, flagWrite, 0},    // is negative if treated as signed
		{0xffff_ffff_0000_1000, 1, 0, 0},   // is valid in 32 bits
		{0x1_0000_1000, 0x1000, 0, 0},      // is valid in 32 bits, too
		{ringsAt - 1, 2, flagWrite, 0},     // begins before the region of the rings
		{ringsAt + 1<<20, 1, flagNext, 1},  // first of a chain
	} {
		g.SetDesc(0, d)
		g.SetDesc(1, desc{0x1000, 1, 0, 0})
		g.refuses(t, 0, virtqueue.ErrAddress)
		// The same after a valid descriptor, which makes its region the hot one.
		g.SetDesc(2, desc{0x1800, 1, flagNext | d.Flags&flagWrite, 0})
		g.refuses(t, 2, virtqueue.ErrAddress)
	}
	for _, d := range []desc{{0x1000, 0x1000, 0, 0}, {0x3fff, 1, 0, 0}, {top, 0x1000, 0, 0}, {math.MaxUint64, 1, 0, 0}} {
		g.SetDesc(0, d)
		if c := g.offer(t, 0); c.Err != nil || virtqueue.Len(c.Readable) != int(d.Len) {
			t.Fatalf("%+v: %v", d, c.Err)
		}
	}
}

// A buffer that is contiguous for the guest is in two mappings here.
func TestBufferStraddlesRegions(t *testing.T) {
	// In our memory the regions are in the other order, with a gap.
	room := make([]byte, 0x4000)
	low := virtqueue.Region{GuestAddr: 0x1000, UserAddr: 0x9000, Mem: room[0x3000:0x4000]}
	high := virtqueue.Region{GuestAddr: 0x2000, UserAddr: 0x5000, Mem: room[0x0000:0x1000]}
	g := newGuestWith(t, 8, 0, high, low)
	for range 2 { // the second time one of the regions is the hot one
		for _, flags := range []uint16{0, flagWrite} {
			g.SetDesc(0, desc{0x1ffd, 10, flags, 0})
			c := g.offer(t, 0)
			if c.Err != nil {
				t.Fatal(c.Err)
			}
			segs := c.Readable
			if flags != 0 {
				segs = c.Writable
			}
			pieces(t, "straddling", segs, 3, 7)
			if !sameMemory(segs[0], room[0x3ffd:0x4000]) || !sameMemory(segs[1], room[:7]) {
				t.Fatal("pieces are not the two ends of the regions")
			}
		}
	}
}

// A chain's length must fit in the 32 bits of a used entry, whatever the sum of its descriptors:
// "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in total" (2.7.5.2).
func TestLengthOverflow(t *testing.T) {
	// Nothing touches this memory; it only has to have addresses.
	mem, err := unix.Mmap(-1, 0, 1<<31, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	g := newGuestWith(t, 8, indirect, virtqueue.Region{Mem: mem}, region(1<<33, 0x1000))
	for _, last := range []uint32{1, 2, 1 << 31} {
		for _, flags := range []uint16{0, flagWrite} {
			g.SetDesc(0, desc{0, 1 << 31, flagNext, 1})
			g.SetDesc(1, desc{0, 1<<31 - 1, flagNext | flags, 2})
			g.SetDesc(2, desc{0, last, flags, 0})
			g.refuses(t, 0, virtqueue.ErrTooLong)

			var p []byte
			for i := range uint16(3) {
				p = g.Desc(i).Append(p)
			}
			g.Write(1<<33, p)
			g.SetDesc(3, desc{1 << 33, 48, flagIndirect, 0})
			g.refuses(t, 3, virtqueue.ErrTooLong)
		}
	}
	g.SetDesc(0, desc{0, 1 << 31, flagNext, 1})
	g.SetDesc(1, desc{0, 1<<31 - 1, 0, 0})
	if c := g.offer(t, 0); c.Err != nil || virtqueue.Len(c.Readable) != math.MaxUint32 {
		t.Fatal(c.Err)
	}
}

// The pieces of many tiny regions and a large table multiply: each descriptor may be cut into as
// many pieces as there are regions. The cost of one chain stays bounded.
func TestPiecesMultiply(t *testing.T) {
	const regions = virtqueue.MaxRegions - 1
	var data []virtqueue.Region
	for i := range uint64(regions) {
		data = append(data, region(i, 1))
	}
	g := newGuestWith(t, virtqueue.MaxSize, 0, data...)
	for i := range uint16(virtqueue.MaxSize) {
		g.SetDesc(i, desc{0, regions, flagNext, (i + 1) % virtqueue.MaxSize})
	}
	g.SetDesc(virtqueue.MaxSize-1, desc{0, regions, 0, 0})
	g.refuses(t, 0, virtqueue.ErrTooLong)
	// A few of these descriptors are legal.
	g.SetDesc(9, desc{0, regions, 0, 0})
	if c := g.offer(t, 0); c.Err != nil || len(c.Readable) != 10*regions {
		t.Fatalf("%d pieces, %v", len(c.Readable), c.Err)
	}
}

// Long chains, invalid ones included, end a batch early: the cost of one Pop is bounded, and other
// queues get their turn.
func TestPopIsBounded(t *testing.T) {
	const size = 4096
	for name, last := range map[string]desc{
		"good": {0, 1, 0, 0},
		"bad":  {0, 1, flagNext, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuestWith(t, size, indirect, region(0, 16*virtqueue.MaxIndirect))
			for i := range uint16(size) {
				g.SetDesc(i, desc{0, 1, flagNext, i + 1})
			}
			g.SetDesc(size-1, last)
			g.popsOneAtATime(t)
		})
		t.Run(name+" indirect", func(t *testing.T) {
			g := newGuestWith(t, 64, indirect, region(0, 16*virtqueue.MaxIndirect))
			for i := range uint64(virtqueue.MaxIndirect) {
				g.Write(16*i, desc{0, 1, flagNext, uint16(i + 1)}.Append(nil))
			}
			g.Write(16*(virtqueue.MaxIndirect-1), last.Append(nil))
			g.SetDesc(0, desc{0, 16 * virtqueue.MaxIndirect, flagIndirect, 0})
			g.popsOneAtATime(t)
		})
	}
}

// popsOneAtATime offers the chain that begins at descriptor 0 again and again, and checks that each
// Pop returns one of them.
func (g *guest) popsOneAtATime(t *testing.T) {
	t.Helper()
	for range 64 {
		g.Offer(0)
	}
	g.Publish()
	for range 64 {
		g.b.Reset()
		if n, err := g.q.Pop(g.b, 64); n != 1 || err != nil {
			t.Fatalf("%d chains, %v", n, err)
		}
	}
}

// An invalid chain between valid ones does not affect them.
func TestBadChainAmongGoodOnes(t *testing.T) {
	g := newGuest(t, 8, 0)
	a, b := g.Alloc(10), g.Alloc(20)
	g.SetDesc(0, desc{a.Addr, 10, 0, 0})
	g.SetDesc(1, desc{a.Addr, 10, flagNext, 2})
	g.SetDesc(2, desc{a.Addr, 10, flagNext, 1})
	g.SetDesc(3, desc{b.Addr, 20, flagWrite, 0})
	for _, h := range []uint16{0, 1, 3, 1, 0} {
		g.Offer(h)
	}
	g.Publish()
	if n, err := g.q.Pop(g.b, 64); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	for i, c := range g.b.Chains {
		if bad := c.Head() == 1; bad != (c.Err != nil) {
			t.Errorf("chain %d (head %d): %v", i, c.Head(), c.Err)
		}
	}
	pieces(t, "first", g.b.Chains[0].Readable, 10)
	pieces(t, "third", g.b.Chains[2].Writable, 20)
	pieces(t, "last", g.b.Chains[4].Readable, 10)
	if g.b.Chains[0].Readable[0][0] = 7; g.b.Chains[4].Readable[0][0] != 7 {
		t.Error("first and last are not the same buffer")
	}
}

// A batch is reused: no state of a chain may show in the chain that later takes its place.
func TestBatchReuse(t *testing.T) {
	g := newGuest(t, 8, 0)
	a := g.Alloc(64).Addr
	kinds := []struct {
		d                  desc
		err                error
		readable, writable int
	}{
		{desc{a, 1, 0, 0}, nil, 1, 0},
		{desc{a, 1, flagWrite, 0}, nil, 0, 1},
		{desc{a, 0, 0, 0}, virtqueue.ErrZeroLen, 0, 0},
		{desc{a, 1, flagNext, 7}, nil, 2, 0},
		{desc{a, 1, flagWrite | flagNext, 6}, nil, 0, 2},
	}
	g.SetDesc(7, desc{a, 1, 0, 0})
	g.SetDesc(6, desc{a, 1, flagWrite, 0})
	for _, first := range kinds {
		for _, second := range kinds {
			g.SetDesc(0, first.d)
			g.offer(t, 0)
			g.SetDesc(0, second.d)
			c := g.offer(t, 0)
			if c.Err != second.err || len(c.Readable) != second.readable || len(c.Writable) != second.writable {
				t.Errorf("%v after %v: %v", second.d, first.d, c)
			}
		}
	}
}

// The end of the address space and its beginning are not adjacent.
func TestBufferWrapsAroundAddressSpace(t *testing.T) {
	g := newGuestWith(t, 8, indirect, region(0, 0x1000), region(math.MaxUint64-0xfff, 0x1000))
	for _, flags := range []uint16{0, flagWrite, flagIndirect} {
		g.SetDesc(0, desc{math.MaxUint64 - 15, 32, flags, 0})
		g.refuses(t, 0, virtqueue.ErrAddress)
	}
}
