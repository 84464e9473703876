package virtqueue_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Tests of the differences in a packed ring. The rules for chains are tested in chain_test.go: both
// formats are walked by the same code.

// A pdesc is a virtqueuetest.PackedDesc that may be written without field names.
type pdesc struct {
	addr      uint64
	len       uint32
	id, flags uint16
}

const (
	flagAvail  = virtqueuetest.FlagAvail // available on the first lap
	flagUsed   = virtqueuetest.FlagUsed
	flagEither = flagAvail | flagUsed
)

// put writes descriptors to the ring from place at on, the first one last.
func (g *guest) put(at int, descs ...pdesc) {
	for i, d := range slices.Backward(descs) {
		g.SetPackedDesc((at+i)%g.Config().Size, virtqueuetest.PackedDesc{Addr: d.addr, Len: d.len, ID: d.id, Flags: d.flags})
	}
}

// flags returns the flags of the descriptor in a place.
func (g *guest) flags(i int) uint16 { return g.PackedDesc(i).Flags }

func TestPackedSizes(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5, 7, 8, 255, 256, 257, 32767, 32768} {
		g := newGuest(t, size, packed)
		if g.q.Config().Size != size || g.q.Base() != virtqueue.PackedStart {
			t.Error(g.q.Config())
		}
	}
	for _, size := range []int{math.MinInt, -1, 0, 32769, 65536, 1 << 32, math.MaxInt} {
		cfg := newGuest(t, 256, packed).Config()
		cfg.Size = size
		if _, err := virtqueue.New(newGuest(t, 256, packed).Memory(), cfg); !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// 16, 4 and 4 bytes (2.8.10.1).
func TestPackedRingPlaces(t *testing.T) {
	mem := region(ringsAt, 0x10000)
	m, err := virtqueue.NewMemory([]virtqueue.Region{mem, region(0x1000, 0x50)})
	if err != nil {
		t.Fatal(err)
	}
	try := func(change func(c *virtqueue.Config)) error {
		cfg := virtqueue.Config{Size: 5, Features: packed, Base: virtqueue.PackedStart, Desc: ringsAt, Avail: ringsAt + 0x100, Used: ringsAt + 0x104}
		change(&cfg)
		_, err := virtqueue.New(m, cfg)
		return err
	}
	for off := range uint64(16) {
		if err := try(func(c *virtqueue.Config) { c.Desc += off }); errors.Is(err, virtqueue.ErrSetup) != (off != 0) {
			t.Errorf("descriptor ring at +%d: %v", off, err)
		}
		if err := try(func(c *virtqueue.Config) { c.Avail += off }); errors.Is(err, virtqueue.ErrSetup) != (off%4 != 0) {
			t.Errorf("driver event at +%d: %v", off, err)
		}
		if err := try(func(c *virtqueue.Config) { c.Used += off }); errors.Is(err, virtqueue.ErrSetup) != (off%4 != 0) {
			t.Errorf("device event at +%d: %v", off, err)
		}
	}
	// Each area has to be in one region: here each ends at the region's end, or a
	// little after it.
	for what, at := range map[string]func(c *virtqueue.Config, beyond uint64){
		"descriptor ring": func(c *virtqueue.Config, beyond uint64) { c.Desc = 0x1000 + 16*beyond },
		"driver event":    func(c *virtqueue.Config, beyond uint64) { c.Avail = 0x104c + 4*beyond },
		"device event":    func(c *virtqueue.Config, beyond uint64) { c.Used = 0x104c + 4*beyond },
	} {
		if err := try(func(c *virtqueue.Config) { at(c, 0) }); err != nil {
			t.Errorf("%s at the end: %v", what, err)
		}
		if err := try(func(c *virtqueue.Config) { at(c, 1) }); !errors.Is(err, virtqueue.ErrAddress) {
			t.Errorf("%s beyond the end: %v", what, err)
		}
	}
}

// Bit 15 of each half of the base is a wrap counter. A device that works in order continues
// with the first descriptor that has not been used; a front-end that does not know its
// position passes 0.
func TestPackedBase(t *testing.T) {
	for _, c := range []struct {
		base, want uint32
		ok         bool
	}{
		{virtqueue.PackedStart, 0x8000_8000, true},
		{0x8000, 0x8000_8000, true},
		{0x8003, 0x8003_8003, true},
		{0x0003, 0x0003_0003, true},
		{0x0000, 0x0000_0000, true},
		{0x8003_0001, 0x8003_8003, true}, // four descriptors across the end
		{0x0001_0003, 0x0001_0001, true},
		{0x8004, 0x8004_8004, true},
		{0x8005, 0, false},
		{0x0005, 0, false},
		{0xffff, 0, false},
		{0x8005_8000, 0, false},
	} {
		g := newGuest(t, 5, packed)
		cfg := g.Config()
		cfg.Base = c.base
		q, err := virtqueue.New(g.Memory(), cfg)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("base %#x: %v", c.base, err)
		} else if err == nil && (q.Base() != c.want || q.LastAvail() != uint16(c.want) || q.UsedIdx() != uint16(c.want>>16)) {
			t.Errorf("base %#x became %#x (%#x, %#x)", c.base, q.Base(), q.LastAvail(), q.UsedIdx())
		}
	}
}

// The positions go around the ring many times, with chains of all lengths that fit, from every
// place and with both wrap counters.
func TestPackedLaps(t *testing.T) {
	for size := 1; size <= 7; size++ {
		for length := 1; length <= size; length++ {
			for at := range size {
				for _, wrap := range []uint16{0, 1 << 15} {
					g := newGuest(t, size, packed)
					g.Abandon(uint16(at) | wrap)
					g = start(t, g.Driver)
					bufs := make([]buf, length)
					for i := range bufs {
						bufs[i] = g.Alloc(8)
					}
					for range 4 * size {
						head := must(g.AddChain(nil, bufs))
						g.Publish()
						c := g.pop(t, 1)[0]
						if c.Err != nil || c.Head() != head || len(c.Writable) != length {
							t.Fatalf("size %d, length %d: %v", size, length, c)
						}
						if n, err := g.q.Pop(g.b, 1); n != 0 || err != nil {
							t.Fatalf("size %d, length %d: popped %d more, %v", size, length, n, err)
						}
						g.q.Complete(&c, 7)
						g.q.Flush()
						if got, n, ok := g.PollUsed(); !ok || got != head || n != 7 {
							t.Fatalf("size %d, length %d: used %d, %d, %t", size, length, got, n, ok)
						}
						if g.q.UsedIdx() != g.UsedPlace() || g.q.LastAvail() != g.NextPlace() {
							t.Fatalf("%#x, %#x; the driver is at %#x, %#x", g.q.UsedIdx(), g.q.LastAvail(), g.UsedPlace(), g.NextPlace())
						}
						g.Release(head)
					}
				}
			}
		}
	}
}

// A descriptor is available when its two flags differ, according to the lap.
func TestPackedAvailability(t *testing.T) {
	for _, wrap := range []bool{true, false} {
		for _, flags := range []uint16{0, flagAvail, flagUsed, flagEither} {
			g := newGuest(t, 4, packed)
			if !wrap {
				g.Abandon(0)
				g = start(t, g.Driver)
			}
			g.put(0, pdesc{g.Alloc(8).Addr, 8, 0, flags})
			want := 0
			if flags == virtqueuetest.Avail(wrap) {
				want = 1
			}
			n, err := g.q.Available()
			if n != want || err != nil || g.q.Arm() != (want == 1) {
				t.Errorf("wrap %t, flags %#x: %d available, %v", wrap, flags, n, err)
			}
			if n, err := g.q.Pop(g.b, 4); n != want || err != nil {
				t.Errorf("wrap %t, flags %#x: popped %d, %v", wrap, flags, n, err)
			}
		}
	}
}

// "Buffer ID is included in the last descriptor in the list" (2.8.6), and it is any
// number: IDs that no driver uses are returned unchanged, and so are those in use by two
// chains at the same time.
func TestPackedBufferIDs(t *testing.T) {
	g := newGuest(t, 8, packed)
	a := g.Alloc(8).Addr
	ids := []uint16{0xffff, 0x8000, 8, 3, 3}
	at := 0
	for _, id := range ids {
		g.put(at, pdesc{a, 8, 1, flagAvail | flagNext}, pdesc{a, 8, id, flagAvail})
		if at += 2; at == 8 {
			break
		}
	}
	for i, c := range g.pop(t, 4) {
		if c.Err != nil || c.Head() != ids[i] {
			t.Fatalf("chain %d: %v", c.Head(), c.Err)
		}
		g.q.Complete(&c, 0)
	}
	g.q.Flush()
	for i, id := range ids[:4] {
		if d := g.PackedDesc(2 * i); d.ID != id || d.Flags != flagEither {
			t.Errorf("used descriptor %d: %+v", 2*i, d)
		}
	}
}

// A used element takes the place of the first of its chain's descriptors, in whatever order chains
// are completed. The other places keep their contents, except for the mark that all of them get.
func TestPackedUsedPlaces(t *testing.T) {
	g := newGuest(t, 8, packed)
	for i, n := range []int{3, 1, 2} {
		bufs := make([]buf, n)
		for j := range bufs {
			bufs[j] = g.Alloc(16)
		}
		if head := must(g.AddChain(nil, bufs)); int(head) != i {
			t.Fatal(head)
		}
	}
	g.Publish()
	before := make([]virtqueuetest.PackedDesc, 8)
	for i := range before {
		before[i] = g.PackedDesc(i)
	}
	chains := g.pop(t, 3)
	for _, i := range []int{1, 2, 0} {
		g.q.Complete(&chains[i], uint32(10*i))
	}
	g.q.Flush()
	write := uint16(flagEither | flagWrite)
	want := slices.Clone(before)
	want[0].ID, want[0].Len, want[0].Flags = 1, 10, write
	want[1].ID, want[1].Len, want[1].Flags = 2, 20, write
	want[3].ID, want[3].Len, want[3].Flags = 0, 0, flagEither // nothing written: no write flag
	for i := range 6 {
		want[i].Addr = virtqueue.UsedMark(1 << 15)
	}
	for i := range want {
		if got := g.PackedDesc(i); got != want[i] {
			t.Errorf("place %d: %+v, want %+v", i, got, want[i])
		}
	}
	for _, want := range []uint16{1, 2, 0} {
		if head, n, ok := g.PollUsed(); !ok || head != want || n != uint32(10*want) {
			t.Fatal(head, n, ok)
		}
	}
}

// "These devices always mark the descriptor corresponding to the first buffer in the request used
// after the rest of the descriptors" (2.8.9). Here the first place of the batch is in memory that
// vanishes, so that the write to it, which must be the last one, faults.
func TestPackedBatchIsPublishedAtOnce(t *testing.T) {
	fd, mem := memfd(t, 0x2000)
	data, rings := region(0x1000, 0x1000), region(ringsAt+0x10000, 0x1000)
	cfg := virtqueue.Config{Size: 512, Features: packed, Base: 511 | 1<<15, Desc: ringsAt, Avail: rings.UserAddr, Used: rings.UserAddr + 4}
	drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: ringsAt, UserAddr: ringsAt, Mem: mem}, data, rings}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, drv)
	for range 3 {
		must(g.AddChain([]buf{{Addr: 0x1000, Len: 8}}, nil))
	}
	g.Publish()
	for _, c := range g.pop(t, 3) {
		g.q.Complete(&c, 0)
	}
	if err := unix.Ftruncate(fd, 0x1000); err != nil {
		t.Fatal(err)
	}
	if addr := fault(t, g.q.Flush); addr == 0 || !g.Memory().Contains(addr) {
		t.Fatalf("fault at %#x", addr)
	}
	for i := range 2 {
		if d := g.PackedDesc(i); d.Flags != virtqueuetest.Used(false) || d.Addr != virtqueue.UsedMark(511|1<<15) {
			t.Errorf("descriptor %d was not written before the first one: %+v", i, d)
		}
	}
}

// The whole ring may be one chain. A longer chain has no end, so that not even its ID is known, and
// the ring is broken.
func TestPackedChainTooLong(t *testing.T) {
	for _, size := range []int{1, 2, 5, 256, virtqueue.MaxSize} {
		g := newGuest(t, size, packed)
		a := g.Alloc(8).Addr
		whole := make([]pdesc, size)
		for i := range whole {
			whole[i] = pdesc{a, 1, 7, flagAvail | flagNext}
		}
		whole[size-1].flags &^= flagNext
		g.put(0, whole...)
		if n, err := g.q.Available(); n != 1 || err != nil {
			t.Fatal(size, n, err)
		}
		if c := g.pop(t, 1)[0]; c.Err != nil || len(c.Readable) != size || c.Head() != 7 {
			t.Fatalf("size %d: %d pieces, %v", size, len(c.Readable), c.Err)
		}

		whole[size-1].flags |= flagNext
		for name, use := range map[string]func(g *guest) (int, error){
			"Pop":       func(g *guest) (int, error) { return g.q.Pop(g.b, 4) },
			"Available": func(g *guest) (int, error) { return g.q.Available() },
		} {
			g := newGuest(t, size, packed)
			g.put(0, whole...)
			if n, err := use(g); n != 0 || err != virtqueue.ErrLoop || len(g.b.Chains) != 0 {
				t.Fatalf("size %d: %s: %d, %v", size, name, n, err)
			}
			whole := slices.Clone(whole)
			whole[size-1].flags &^= flagNext
			g.put(0, whole...) // valid again, too late
			if n, err := g.q.Pop(g.b, 4); n != 0 || err != virtqueue.ErrLoop || g.q.Arm() {
				t.Fatalf("size %d: %d, %v", size, n, err)
			}
		}
	}
}

// Descriptors in use cannot be made available again: a chain must not run into them, and a driver
// that goes on as if they had been used gets no chain popped.
func TestPackedRunsIntoWhatIsInUse(t *testing.T) {
	g := newGuest(t, 4, packed)
	a := g.Alloc(8).Addr
	single := pdesc{a, 8, 0, flagAvail}
	g.put(0, single, single)
	g.pop(t, 2)
	g.put(2, pdesc{a, 8, 0, flagAvail | flagNext}, pdesc{a, 8, 0, flagAvail | flagNext})
	g.put(0, pdesc{a, 8, 0, flagUsed})
	if n, err := g.q.Pop(g.b, 4); n != 0 || err != virtqueue.ErrLoop {
		t.Fatal(n, err)
	}

	g = newGuest(t, 4, packed)
	g.put(0, single, single, single, single)
	g.pop(t, 4)
	next := pdesc{a, 8, 0, flagUsed} // available on the next lap
	g.put(0, next, next, next, next)
	if n, err := g.q.Available(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := g.q.Pop(g.b, 4); n != 0 || err != nil || g.q.Arm() {
		t.Fatal(n, err)
	}
}

// A chain whose first descriptor is invalid still takes its ID from its last descriptor, and
// takes all its places.
func TestPackedBadChains(t *testing.T) {
	for name, c := range map[string]struct {
		bad  []pdesc
		want error
	}{
		"zero length first":    {[]pdesc{{0, 0, 1, flagNext}, {0x1000, 8, 2, flagNext}, {0x1000, 8, 9, 0}}, virtqueue.ErrZeroLen},
		"address first":        {[]pdesc{{1 << 50, 8, 1, flagNext}, {0x1000, 8, 9, 0}}, virtqueue.ErrAddress},
		"address last":         {[]pdesc{{0x1000, 8, 1, flagNext}, {0x1ff9, 8, 9, 0}}, virtqueue.ErrAddress},
		"zero length alone":    {[]pdesc{{0x1000, 0, 9, 0}}, virtqueue.ErrZeroLen},
		"alone":                {[]pdesc{{0x1ff9, 8, 9, 0}}, virtqueue.ErrAddress},
		"direction":            {[]pdesc{{0x1000, 8, 1, flagNext | flagWrite}, {0x1000, 8, 9, 0}}, virtqueue.ErrDirection},
		"indirect last":        {[]pdesc{{0x1000, 8, 1, flagNext}, {0x1000, 16, 9, flagIndirect}}, virtqueue.ErrIndirect},
		"indirect first":       {[]pdesc{{0x1000, 16, 1, flagNext | flagIndirect}, {0x1000, 8, 9, 0}}, virtqueue.ErrIndirect},
		"indirect in between":  {[]pdesc{{0x1000, 8, 1, flagNext}, {0x1000, 16, 1, flagNext | flagIndirect}, {0x1000, 8, 9, 0}}, virtqueue.ErrIndirect},
		"indirect of no table": {[]pdesc{{0x1000, 0, 9, flagIndirect}}, virtqueue.ErrIndirect},
		"indirect of 24 bytes": {[]pdesc{{0x1000, 24, 9, flagIndirect}}, virtqueue.ErrIndirect},
		"indirect outside":     {[]pdesc{{0x1ff8, 16, 9, flagIndirect}}, virtqueue.ErrAddress},
		"indirect of zeros":    {[]pdesc{{0x1000, 16, 9, flagIndirect}}, virtqueue.ErrZeroLen},
	} {
		for _, at := range []int{0, 7} { // in the middle of the ring and across its end
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				g := newGuestWith(t, 8, packed|indirect, region(0x1000, 0x1000))
				g.Abandon(uint16(at) | 1<<15)
				g = start(t, g.Driver)
				good := pdesc{0x1000, 5, 4, 0}
				for i, d := range slices.Backward(append(append([]pdesc{good}, c.bad...), good)) {
					d.flags |= virtqueuetest.Avail(at+i < 8)
					g.put(at+i, d)
				}
				chains := g.pop(t, 3)
				if bad := chains[1]; !errors.Is(bad.Err, c.want) || bad.Head() != 9 || bad.Readable != nil || bad.Writable != nil {
					t.Fatalf("chain %d: %v", bad.Head(), bad.Err)
				}
				pieces(t, "first", chains[0].Readable, 5)
				pieces(t, "last", chains[2].Readable, 5)
				for i := range chains {
					g.q.Complete(&chains[i], 0)
				}
				g.q.Flush()
				for i, id := range map[int]uint16{0: 4, 1: 9, 1 + len(c.bad): 4} {
					if d := g.PackedDesc((at + i) % 8); d.ID != id || d.Len != 0 || d.Flags != virtqueuetest.Used(at+i < 8) {
						t.Errorf("used descriptor %d: %+v", at+i, d)
					}
				}
			})
		}
	}
}

// "Others are reserved and are ignored by the device. Buffer ID is also reserved and is ignored by
// the device" (2.8.7): all descriptors of a table are used, in their order.
func TestPackedIndirect(t *testing.T) {
	g := newGuestWith(t, 4, packed|indirect, region(0x1000, 0x1000))
	var table []byte
	for i, flags := range []uint16{0, 0xffff &^ flagWrite, flagNext, flagIndirect | flagWrite, 0xffff} {
		table = virtqueuetest.PackedDesc{Addr: 0x1800 + uint64(i), Len: uint32(i + 1), ID: uint16(77 * i), Flags: flags}.Append(table)
	}
	g.Write(0x1008, table) // not aligned
	// The write flag of the descriptor itself is ignored.
	g.put(0, pdesc{0x1008, 5 * 16, 3, flagAvail | flagIndirect | flagWrite})
	c := g.pop(t, 1)[0]
	if c.Err != nil || c.Head() != 3 {
		t.Fatal(c.Head(), c.Err)
	}
	pieces(t, "readable", c.Readable, 1, 2, 3)
	pieces(t, "writable", c.Writable, 4, 5)
	g.q.Complete(&c, 9)
	g.q.Flush()
	if g.q.UsedIdx() != 1|1<<15 {
		t.Fatalf("%#x", g.q.UsedIdx())
	}
	// Not negotiated.
	g = newGuestWith(t, 4, packed, region(0x1000, 0x1000))
	g.Write(0x1008, table)
	g.put(0, pdesc{0x1008, 5 * 16, 3, flagAvail | flagIndirect})
	if c := g.pop(t, 1)[0]; c.Err != virtqueue.ErrIndirect || c.Head() != 3 {
		t.Fatal(c.Head(), c.Err)
	}
}

// Chains of a few descriptors each, many at once, end at the limit of a batch.
func TestPackedPopIsBounded(t *testing.T) {
	const size = 8192
	g := newGuest(t, size, packed)
	a := g.Alloc(8).Addr
	for i := 0; i < size; i += 4 {
		g.put(i, pdesc{a, 1, 0, flagAvail | flagNext}, pdesc{a, 1, 0, flagAvail | flagNext}, pdesc{a, 1, 0, flagAvail | flagNext}, pdesc{a, 1, 0, flagAvail})
	}
	if n, err := g.q.Pop(g.b, size); n == 0 || n > 2048/4 || err != nil {
		t.Fatal(n, err)
	}
}

// Unpop goes back by descriptors, across the ring's end as well.
func TestPackedUnpop(t *testing.T) {
	g := newGuest(t, 7, packed)
	g.Abandon(4 | 1<<15)
	g = start(t, g.Driver)
	var heads []uint16
	for _, n := range []int{2, 3, 1} {
		bufs := make([]buf, n)
		for i := range bufs {
			bufs[i] = g.Alloc(8)
		}
		heads = append(heads, must(g.AddChain(bufs, nil)))
	}
	g.Publish()
	base := g.q.Base()
	for n := range 4 {
		g.pop(t, 3)
		g.q.Unpop(g.b, n)
		for i, c := range g.b.Chains {
			if c.Head() != heads[i] {
				t.Fatal(i, c.Head())
			}
		}
		g.q.Unpop(g.b, 3-n)
		if g.q.Base() != base || len(g.b.Chains) != 0 {
			t.Fatalf("%#x, want %#x", g.q.Base(), base)
		}
	}
}
