package virtqueue_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// FuzzChain walks hostile descriptors in hostile memory layouts and compares the result with a
// naive walk that follows the specification word by word. The input is, in this order:
//
//	1 byte   logarithm of the queue's size (0 to 5), and in bit 7 "no INDIRECT_DESC"
//	1 byte   number of regions (1 to 8)
//	4 bytes  per region: le16 gap to the one before it, le16 length
//	8 bytes  per descriptor, see descriptor: first those of the table, then those
//	         with which the regions are filled, for indirect tables to be found
func FuzzChain(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		c, ok := parseChainCase(in)
		if !ok {
			return
		}
		g := newGuestWith(t, c.size, c.features, c.regions...)
		for i, d := range c.table {
			g.SetDesc(uint16(i), d)
		}
		// All heads go into one batch, within the limits of a batch, so that walks meet
		// state that earlier walks left behind.
		for i := range c.table {
			g.Offer(uint16(i))
		}
		g.Publish()
		for head := 0; head < c.size; {
			g.b.Reset()
			n, err := g.q.Pop(g.b, c.size)
			if err != nil || n < 1 || n > c.size-head {
				t.Fatalf("popped %d of %d chains, %v", n, c.size-head, err)
			}
			descs := 0
			for _, chain := range g.b.Chains {
				descs += len(chain.Readable) + len(chain.Writable)
				if int(chain.Head()) != head {
					t.Fatalf("popped chain %d instead of %d", chain.Head(), head)
				}
				c.compare(t, g, chain)
				head++
			}
			if limit := 2048 + c.size + virtqueue.MaxIndirect; descs > limit*(len(c.regions)+1) {
				t.Fatalf("%d pieces in one batch", descs)
			}
		}
	})
}

// A chainCase is the decoded input of FuzzChain.
type chainCase struct {
	size     int
	features uint64
	regions  []virtqueue.Region
	table    []desc
}

func parseChainCase(in []byte) (c chainCase, ok bool) {
	if len(in) < 2 {
		return c, false
	}
	c.size = 1 << (in[0] & 0x7f % 6)
	if in[0]&0x80 == 0 {
		c.features = indirect
	}
	count := 1 + int(in[1]%8)
	in = in[2:]
	if len(in) < 4*count {
		return c, false
	}
	// Regions that are contiguous for the guest are apart and in another order here.
	total := 0
	for i := range count {
		total += 1 + int(binary.LittleEndian.Uint16(in[4*i+2:])&0xfff)
	}
	mem := make([]byte, total)
	at := uint64(0)
	for i := range count {
		at += uint64(binary.LittleEndian.Uint16(in[4*i:]) & 0xfff)
		n := 1 + int(binary.LittleEndian.Uint16(in[4*i+2:])&0xfff)
		c.regions = append(c.regions, virtqueue.Region{GuestAddr: at, UserAddr: at, Mem: mem[total-n : total : total]})
		total -= n
		at += uint64(n)
	}
	in = in[4*count:]
	c.table = make([]desc, c.size)
	for i := range c.table {
		if len(in) >= 8 {
			c.table[i] = descriptor(in)
			in = in[8:]
		}
	}
	var fill []byte
	for ; len(in) >= 8; in = in[8:] {
		fill = descriptor(in).Append(fill)
	}
	for i := 0; len(fill) > 0 && i < len(mem); { // in the guest's order
		for _, r := range c.regions {
			for j := range r.Mem {
				r.Mem[j] = fill[i%len(fill)]
				i++
			}
		}
	}
	return c, true
}

// descriptor makes a descriptor of 8 bytes: le16 address, le16 length, flags (in the high half:
// which fields are made extreme), le16 next, one unused.
func descriptor(in []byte) desc {
	d := desc{
		Addr:  uint64(binary.LittleEndian.Uint16(in)),
		Len:   uint32(binary.LittleEndian.Uint16(in[2:])),
		Flags: uint16(in[4] & 0xf),
		Next:  binary.LittleEndian.Uint16(in[5:]),
	}
	if in[4]&0x10 != 0 {
		d.Len = -d.Len
	}
	if in[4]&0x20 != 0 {
		d.Addr = -d.Addr
	}
	if in[4]&0x40 != 0 {
		d.Addr += 1 << 32
	}
	if in[4]&0x80 != 0 {
		d.Len <<= 4 // sizes of indirect tables
	}
	return d
}

// compare checks a popped chain against the naive walk.
func (c *chainCase) compare(t testing.TB, g *guest, got virtqueue.Chain) {
	t.Helper()
	readable, writable, ok := c.walk(g, int(got.Head()))
	if ok != (got.Err == nil) {
		t.Fatalf("chain %d: error %v, should be good: %t", got.Head(), got.Err, ok)
	}
	for what, lists := range map[string][2][][]byte{
		"readable": {got.Readable, readable},
		"writable": {got.Writable, writable},
	} {
		if !slices.EqualFunc(lists[0], lists[1], sameMemory) {
			t.Fatalf("chain %d: %s pieces of %v bytes, should be %v, or elsewhere", got.Head(), what, lengths(lists[0]), lengths(lists[1]))
		}
	}
}

func lengths(segs [][]byte) (n []int) {
	for _, s := range segs {
		n = append(n, len(s))
	}
	return n
}

// walk is the naive walk: no fast path, no state, one rule after the other.
func (c *chainCase) walk(g *guest, head int) (readable, writable [][]byte, ok bool) {
	descs, ok := c.flatten(g, head)
	if !ok {
		return nil, nil, false
	}
	total := uint64(0)
	for _, d := range descs {
		pieces, ok := translate(g.Regions(), d.Addr, uint64(d.Len))
		total += uint64(d.Len)
		if d.Len == 0 || !ok || total >= 1<<32 {
			return nil, nil, false
		}
		if d.Flags&flagWrite != 0 {
			writable = append(writable, pieces...)
		} else if writable != nil {
			return nil, nil, false
		} else {
			readable = append(readable, pieces...)
		}
	}
	return readable, writable, true
}

// flatten lists the buffers of a chain, in the queue's table and in an indirect one.
func (c *chainCase) flatten(g *guest, head int) (descs []desc, ok bool) {
	table, i := c.table, head
	isIndirect := false
	for steps := 0; ; steps++ {
		if i >= len(table) || steps >= len(table) {
			return nil, false
		}
		d := table[i]
		if d.Flags&flagIndirect != 0 {
			if isIndirect || c.features&indirect == 0 || d.Flags&flagNext != 0 ||
				d.Len == 0 || d.Len%16 != 0 || d.Len > 16*virtqueue.MaxIndirect {
				return nil, false
			}
			pieces, ok := translate(g.Regions(), d.Addr, uint64(d.Len))
			if !ok {
				return nil, false
			}
			table, i, steps, isIndirect = parseTable(slices.Concat(pieces...)), 0, -1, true
			continue
		}
		descs = append(descs, d)
		if d.Flags&flagNext == 0 {
			return descs, true
		}
		i = int(d.Next)
	}
}

func parseTable(p []byte) (table []desc) {
	for ; len(p) >= 16; p = p[16:] {
		table = append(table, desc{
			Addr:  binary.LittleEndian.Uint64(p),
			Len:   binary.LittleEndian.Uint32(p[8:]),
			Flags: binary.LittleEndian.Uint16(p[12:]),
			Next:  binary.LittleEndian.Uint16(p[14:]),
		})
	}
	return table
}

// translate searches all regions for every piece.
func translate(regions []virtqueue.Region, addr, n uint64) (pieces [][]byte, ok bool) {
	for n > 0 {
		found := false
		for _, r := range regions {
			last := r.GuestAddr + uint64(len(r.Mem)) - 1
			if r.GuestAddr <= addr && addr <= last {
				k := min(n, last-addr+1)
				pieces = append(pieces, r.Mem[addr-r.GuestAddr:][:k])
				addr += k
				n -= k
				found = true
				break
			}
		}
		if !found || n > 0 && addr == 0 {
			return nil, false
		}
	}
	return pieces, true
}

// The naive walk and the real one agree on the chains that the test driver builds.
func TestNaiveWalk(t *testing.T) {
	drv, err := virtqueuetest.NewLocal(8, indirect, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, drv)
	in, out := []buf{g.Alloc(3), g.Alloc(5)}, []buf{g.Alloc(7)}
	for name, build := range map[string]func(r, w []buf) (uint16, error){"direct": g.Build, "indirect": g.BuildIndirect} {
		head := must(build(in, out))
		c := chainCase{size: 8, features: indirect}
		for i := range uint16(8) {
			c.table = append(c.table, desc(g.Desc(i)))
		}
		readable, writable, ok := c.walk(g, int(head))
		if got := fmt.Sprint(lengths(readable), lengths(writable), ok); got != "[3 5] [7] true" {
			t.Error(name, got)
		}
		c.compare(t, g, g.offer(t, head))
	}
}
