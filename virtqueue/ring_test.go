package virtqueue_test

import (
	"errors"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Tests of the rules for a ring as a whole: where it may lie, and what the driver may write to it.

func TestSizes(t *testing.T) {
	for size := 1; size <= virtqueue.MaxSize; size *= 2 {
		g := newGuest(t, size, 0)
		if g.q.Config().Size != size {
			t.Error("wrong size")
		}
	}
	for _, size := range []int{math.MinInt, -1, 0, 3, 5, 255, 257, 32767, 32769, 65536, 1 << 32, 1<<32 + 1, math.MaxInt} {
		cfg := newGuest(t, 256, 0).Config()
		cfg.Size = size
		if _, err := virtqueue.New(newGuest(t, 256, 0).Memory(), cfg); !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// 16, 2 and 4 bytes (2.7). An area that is aligned in the front-end's addresses need not be aligned
// in our mapping; both are required.
func TestMisalignedRings(t *testing.T) {
	mem := make([]byte, 1<<16)
	try := func(shift uint64, change func(c *virtqueue.Config)) error {
		m, err := virtqueue.NewMemory([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt + shift, Mem: mem[shift:]}})
		if err != nil {
			t.Fatal(err)
		}
		cfg := virtqueue.Config{Size: 8, Desc: ringsAt + 0x1000, Avail: ringsAt + 0x2000, Used: ringsAt + 0x3000}
		change(&cfg)
		_, err = virtqueue.New(m, cfg)
		return err
	}
	for off := uint64(1); off < 16; off++ {
		if err := try(0, func(c *virtqueue.Config) { c.Desc += off }); !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("descriptor table at +%d: %v", off, err)
		}
		want := off%2 != 0
		if err := try(0, func(c *virtqueue.Config) { c.Avail += off }); errors.Is(err, virtqueue.ErrSetup) != want {
			t.Errorf("available ring at +%d: %v", off, err)
		}
		want = off%4 != 0
		if err := try(0, func(c *virtqueue.Config) { c.Used += off }); errors.Is(err, virtqueue.ErrSetup) != want {
			t.Errorf("used ring at +%d: %v", off, err)
		}
	}
	// The mapping is aligned, the front-end's addresses are not.
	for off := uint64(1); off < 16; off++ {
		m, err := virtqueue.NewMemory([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt + off, Mem: mem}})
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := virtqueuetest.Layout(8, ringsAt)
		cfg.Desc += off
		cfg.Avail += off
		cfg.Used += off
		if _, err = virtqueue.New(m, cfg); !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("addresses at +%d: %v", off, err)
		}
	}
	// The front-end's addresses are aligned, the mapping is not.
	for off := uint64(1); off < 16; off++ {
		m, err := virtqueue.NewMemory([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: mem[off:]}})
		if err != nil {
			t.Fatal(err)
		}
		cfg, _ := virtqueuetest.Layout(8, ringsAt)
		if _, err = virtqueue.New(m, cfg); !errors.Is(err, virtqueue.ErrSetup) {
			t.Errorf("mapping at +%d: %v", off, err)
		}
	}
	if err := try(0, func(*virtqueue.Config) {}); err != nil {
		t.Error(err)
	}
}

// An available ring that is aligned to 2 bytes only, which is allowed, has its flags and its index
// in different words.
func TestAvailRingAlignedTo2(t *testing.T) {
	for off := uint64(0); off < 8; off += 2 {
		for _, features := range []uint64{0, eventIdx} {
			cfg := virtqueue.Config{Size: 4, Features: features, Desc: ringsAt, Avail: ringsAt + 0x100 + off, Used: ringsAt + 0x200, Base: 0xfffa}
			mem := make([]byte, 0x1000)
			for i := range mem {
				mem[i] = 0xff // memory beside the ring is not part of it
			}
			drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: mem}}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			drv.Room(0x400, 0x400)
			g := start(t, drv)
			g.q.SetCall(eventfd(t))
			g.q.Signal()
			for i := range 100 {
				quiet := i%2 == 0
				if quiet {
					g.Disarm()
				} else {
					g.Arm()
				}
				head, err := g.Build([]buf{{Addr: 0x400 + uint64(i), Len: 1}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				calls := g.q.Calls()
				if c := g.offer(t, head); c.Err != nil || !sameMemory(c.Readable[0], mem[0x400+i:][:1]) {
					t.Fatal(i, c.Err)
				} else {
					g.completes(t, c)
				}
				if called := g.q.Calls() != calls; called == quiet {
					t.Fatalf("offset %d, chain %d: quiet is %t, called is %t", off, i, quiet, called)
				}
				g.Release(head)
			}
		}
	}
}

// Each area has to be in one region, including the event field at its end.
func TestRingsReachPastRegion(t *testing.T) {
	const size = 8
	lengths := map[string]uint64{"desc": 16 * size, "avail": 4 + 2*size + 2, "used": 4 + 8*size + 2}
	for area, n := range lengths {
		try := func(room uint64) error {
			// The area is at the beginning of a separate region.
			m, err := virtqueue.NewMemory([]virtqueue.Region{
				region(ringsAt, 0x10000),
				region(0x1000, int(room)),
				region(0x1000+room, 0x1000), // contiguous for the guest, which does not matter
			})
			if err != nil {
				t.Fatal(err)
			}
			cfg, _ := virtqueuetest.Layout(size, ringsAt)
			switch area {
			case "desc":
				cfg.Desc = 0x1000
			case "avail":
				cfg.Avail = 0x1000
			case "used":
				cfg.Used = 0x1000
			}
			_, err = virtqueue.New(m, cfg)
			return err
		}
		if err := try(n); err != nil {
			t.Errorf("%s of %d bytes in as many: %v", area, n, err)
		}
		for room := uint64(1); room < n; room++ {
			if err := try(room); !errors.Is(err, virtqueue.ErrAddress) || !errors.Is(err, virtqueue.ErrSetup) {
				t.Errorf("%s of %d bytes in %d: %v", area, n, room, err)
			}
		}
	}
	for _, addr := range []uint64{0, ringsAt - 16, math.MaxUint64 &^ 15, 1 << 63} {
		g := newGuestWith(t, size, 0)
		for i := range 3 {
			cfg := g.Config()
			*[]*uint64{&cfg.Desc, &cfg.Avail, &cfg.Used}[i] = addr
			if _, err := virtqueue.New(g.Memory(), cfg); !errors.Is(err, virtqueue.ErrAddress) {
				t.Errorf("area %d at %#x: %v", i, addr, err)
			}
		}
	}
}

// Ring addresses are the front-end's virtual ones, never guest-physical ones.
func TestRingAddressesAreUserAddresses(t *testing.T) {
	g := newGuest(t, 8, 0)
	r := g.Regions()[0]
	cfg := g.Config()
	for _, a := range []*uint64{&cfg.Desc, &cfg.Avail, &cfg.Used} {
		*a = *a - r.UserAddr + r.GuestAddr
	}
	if _, err := virtqueue.New(g.Memory(), cfg); !errors.Is(err, virtqueue.ErrAddress) {
		t.Fatal(err)
	}
}

func TestAvailIndexTooFarAhead(t *testing.T) {
	for _, size := range []int{1, 8, 256, virtqueue.MaxSize} {
		for _, base := range []uint16{0, 1, 0x7fff, 0x8000, 0xffff} {
			for _, ahead := range []uint16{uint16(size) + 1, uint16(size) + 2, 0xffff} {
				if int(ahead) <= size {
					continue
				}
				g := newGuest(t, size, 0)
				g.Abandon(base)
				g = start(t, g.Driver)
				g.SetAvailIdx(base + ahead)
				if _, err := g.q.Available(); !errors.Is(err, virtqueue.ErrAvailIndex) {
					t.Fatalf("size %d, base %d, %d ahead: %v", size, base, ahead, err)
				}
				if n, err := g.q.Pop(g.b, 64); n != 0 || !errors.Is(err, virtqueue.ErrAvailIndex) || len(g.b.Chains) != 0 {
					t.Fatalf("size %d, base %d, %d ahead: %d chains, %v", size, base, ahead, n, err)
				}
				// The queue stays broken when the driver follows the rules again.
				g.SetAvailIdx(base)
				if _, err := g.q.Pop(g.b, 64); !errors.Is(err, virtqueue.ErrAvailIndex) || !errors.Is(g.q.Err(), err) {
					t.Fatal(err, g.q.Err())
				}
				if g.q.Arm() {
					t.Fatal("a broken queue has pending chains")
				}
			}
			// Exactly full is legal.
			g := newGuest(t, size, 0)
			g.Abandon(base)
			g = start(t, g.Driver)
			g.SetAvailIdx(base + uint16(size))
			if n, err := g.q.Available(); n != size || err != nil {
				t.Fatalf("size %d, base %d: %d, %v", size, base, n, err)
			}
		}
	}
}

// The index may not get too far ahead in small steps either.
func TestAvailIndexRunsPastWrap(t *testing.T) {
	g := newGuest(t, 4, 0)
	g.SetDesc(0, desc{g.Alloc(8).Addr, 8, 0, 0})
	for range 3 * 65536 / 4 {
		for range 4 {
			g.Offer(0)
		}
		g.Publish()
		g.b.Reset()
		if n, err := g.q.Pop(g.b, 64); n != 4 || err != nil {
			t.Fatal(n, err)
		}
	}
	if g.q.LastAvail() != 0 {
		t.Fatal(g.q.LastAvail())
	}
}

func TestHeadOutsideTable(t *testing.T) {
	for _, size := range []int{1, 8, virtqueue.MaxSize} {
		for _, head := range []uint16{uint16(size), uint16(size) + 1, 0x8000, 0xffff} {
			g := newGuest(t, size, 0)
			good := g.Alloc(8)
			g.SetDesc(0, desc{good.Addr, 8, 0, 0})
			n := 0
			for ; n < size-1 && n < 3; n++ { // valid ones before it
				g.Offer(0)
			}
			g.Offer(head)
			g.Publish()
			if n, err := g.q.Pop(g.b, 64); n != 0 || !errors.Is(err, virtqueue.ErrHead) || len(g.b.Chains) != 0 {
				t.Fatalf("size %d, head %d: %d chains, %v", size, head, n, err)
			}
			if g.q.LastAvail() != 0 || !errors.Is(g.q.Err(), virtqueue.ErrHead) {
				t.Fatal(g.q.LastAvail(), g.q.Err())
			}
		}
	}
}

func TestPopLimit(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.SetDesc(0, desc{g.Alloc(8).Addr, 8, 0, 0})
	for range 8 {
		g.Offer(0)
	}
	g.Publish()
	for _, limit := range []int{-1, 0, 3, 4, 64} {
		before, _ := g.q.Available()
		n, err := g.q.Pop(g.b, limit)
		if want := max(0, min(before, limit)); n != want || err != nil {
			t.Fatalf("limit %d with %d available: %d, %v", limit, before, n, err)
		}
	}
	if len(g.b.Chains) != 8 {
		t.Fatal("a batch does not accumulate:", len(g.b.Chains))
	}
}

// The base at which the queue continues comes from the front-end, the used index from memory.
func TestStartInTheMiddle(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.Abandon(0xfffe)
	g.SetUsed(0, 0xfffc) // two chains were popped and lost
	g = start(t, g.Driver)
	if g.q.LastAvail() != 0xfffe || g.q.UsedIdx() != 0xfffc {
		t.Fatal(g.q.LastAvail(), g.q.UsedIdx())
	}
	g.q.Complete(named(7), 1)
	g.q.Flush()
	if id, n := g.UsedEntry(0xfffc & 7); id != 7 || n != 1 {
		t.Fatal(id, n)
	}
	if _, idx := g.Used(); idx != 0xfffd {
		t.Fatal(idx)
	}
}

// Used entries pass the end of the ring and of the 16-bit index in one batch.
func TestCompletionsWrap(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.Abandon(0xfffb)
	g = start(t, g.Driver)
	for i := range uint16(8) {
		g.SetDesc(i, desc{g.Alloc(8).Addr, 8, flagWrite, 0})
		g.Offer(7 - i)
	}
	g.Publish()
	if n, err := g.q.Pop(g.b, 64); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	for i, c := range g.b.Chains {
		g.q.Complete(&c, uint32(i))
	}
	if _, idx := g.Used(); idx != 0xfffb || g.q.Pending() != 8 {
		t.Fatal("completions are visible before they are flushed")
	}
	g.q.Flush()
	if _, idx := g.Used(); idx != 3 || g.q.UsedIdx() != 3 || g.q.Pending() != 0 {
		t.Fatal(idx, g.q.UsedIdx(), g.q.Pending())
	}
	for i := range uint16(8) {
		if head, n, ok := g.PollUsed(); !ok || head != 7-i || n != uint32(i) {
			t.Fatal(i, head, n, ok)
		}
	}
}

// CompleteAll completes all chains of a batch, after earlier completions, with nothing written.
func TestCompleteAll(t *testing.T) {
	for features, name := range everyFormat() {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, 256, features)
			for range 200 {
				if _, err := g.AddChain([]buf{g.Alloc(8)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			g.Publish()
			for _, limit := range []int{1, 100, 1000} {
				g.b.Reset()
				if _, err := g.q.Pop(g.b, limit); err != nil {
					t.Fatal(err)
				}
				g.q.CompleteAll(g.b)
			}
			if n := g.q.Pending(); n != 200 {
				t.Fatalf("%d completions", n)
			}
			g.q.Flush()
			for range 200 {
				if _, n, ok := g.PollUsed(); !ok || n != 0 {
					t.Fatal(n, ok)
				}
			}
		})
	}
}

func TestRollback(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.q.Complete(named(1), 11)
	g.q.Complete(named(2), 22)
	g.q.Complete(named(3), 33)
	g.q.Rollback(1)
	if g.q.Pending() != 1 {
		t.Fatal(g.q.Pending())
	}
	g.q.Complete(named(4), 44)
	g.q.Flush()
	for _, want := range []uint16{1, 4} {
		if head, n, ok := g.PollUsed(); !ok || head != want || n != 11*uint32(want) {
			t.Fatal(head, n, ok)
		}
	}
	if _, _, ok := g.PollUsed(); ok {
		t.Fatal("completions that were rolled back were published")
	}
}

func TestUnpop(t *testing.T) {
	g := newGuest(t, 8, 0)
	g.Abandon(0xfffe)
	g = start(t, g.Driver)
	for i := range uint16(6) {
		g.SetDesc(i, desc{g.Alloc(8).Addr, uint32(i) + 1, flagWrite, 0})
		g.Offer(i)
	}
	g.Publish()
	if n, err := g.q.Pop(g.b, 6); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	g.q.Unpop(g.b, 4)
	if len(g.b.Chains) != 2 || g.q.LastAvail() != 0 {
		t.Fatal(len(g.b.Chains), g.q.LastAvail())
	}
	if n, err := g.q.Pop(g.b, 64); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	for i, c := range g.b.Chains {
		if int(c.Head()) != i || virtqueue.Len(c.Writable) != i+1 {
			t.Fatal(i, c)
		}
	}
}

// With a new table the queue discards the cached region of the old one.
func TestSetMemory(t *testing.T) {
	one, two := make([]byte, 0x1000), make([]byte, 0x1000)
	g := newGuestWith(t, 8, 0, virtqueue.Region{GuestAddr: 0x1000, UserAddr: 0x1000, Mem: one})
	g.SetDesc(0, desc{0x1800, 8, 0, 0})
	if c := g.offer(t, 0); !sameMemory(c.Readable[0], one[0x800:0x808]) {
		t.Fatal("not the first memory")
	}
	swap := func(data ...virtqueue.Region) error {
		for _, r := range g.Regions() {
			if r.GuestAddr == ringsAt {
				data = append(data, r)
			}
		}
		m, err := virtqueue.NewMemory(data)
		if err != nil {
			t.Fatal(err)
		}
		return g.q.SetMemory(m)
	}
	// The same addresses elsewhere.
	if err := swap(virtqueue.Region{GuestAddr: 0x1000, UserAddr: 0x1000, Mem: two}); err != nil {
		t.Fatal(err)
	}
	if c := g.offer(t, 0); !sameMemory(c.Readable[0], two[0x800:0x808]) {
		t.Fatal("not the second memory")
	}
	// The same region, smaller: the buffer is now outside.
	if err := swap(virtqueue.Region{GuestAddr: 0x1000, UserAddr: 0x1000, Mem: two[:0x800]}); err != nil {
		t.Fatal(err)
	}
	if c := g.offer(t, 0); !errors.Is(c.Err, virtqueue.ErrAddress) {
		t.Fatal(c.Err)
	}
	// The region is gone.
	if err := swap(); err != nil {
		t.Fatal(err)
	}
	if c := g.offer(t, 0); !errors.Is(c.Err, virtqueue.ErrAddress) {
		t.Fatal(c.Err)
	}
}

// A change of memory between completing chains and publishing them loses none of them.
func TestSetMemoryKeepsCompletions(t *testing.T) {
	for name, features := range map[string]uint64{"split": 0, "in order": inOrder, "packed": packed} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, 8, features)
			want := map[uint16]bool{}
			for range 3 {
				want[must(g.AddChain([]buf{g.Alloc(8)}, nil))] = true
			}
			g.Publish()
			chains := g.pop(t, 3)
			g.q.Complete(&chains[0], 0)
			g.q.Complete(&chains[1], 0)
			if err := g.q.SetMemory(g.Memory()); err != nil {
				t.Fatal(err)
			}
			g.q.Complete(&chains[2], 0) // popped before SetMemory, completed after
			g.q.Flush()
			for range 3 {
				head, _, ok := g.PollUsed()
				if !ok || !want[head] {
					t.Fatalf("chain %d, used %t; %v are missing", head, ok, want)
				}
				delete(want, head)
			}
			if head, _, ok := g.PollUsed(); ok {
				t.Fatalf("chain %d was returned twice", head)
			}
		})
	}
}

// After a memory fault has interrupted a Flush it is not known which completions were published, so
// SetMemory discards all of them: publishing them again could use a chain twice.
func TestSetMemoryAfterInterruptedFlush(t *testing.T) {
	for name, features := range map[string]uint64{"split": eventIdx, "packed": packed} {
		t.Run(name, func(t *testing.T) {
			g, truncate := vanishing(t, features)
			must(g.AddChain([]buf{{Addr: 0x1000, Len: 8}}, nil))
			g.Publish()
			g.q.Complete(&g.pop(t, 1)[0], 0)
			truncate()
			fault(t, g.q.Flush)
			if n := g.q.Pending(); n != 1 {
				t.Fatalf("%d pending", n)
			}
			fresh := newGuest(t, 8, features)
			_ = g.q.SetMemory(fresh.Memory()) // the rings need not be in it
			if n := g.q.Pending(); n != 0 {
				t.Fatalf("%d pending after SetMemory", n)
			}
		})
	}
}

// A front-end may remove the memory of the rings and bring it back: until then the queue touches no
// memory, in particular not the old location of the rings.
func TestSetMemoryWithoutRings(t *testing.T) {
	old, err := unix.Mmap(-1, 0, 0x1000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(old)
	cfg, _ := virtqueuetest.Layout(8, ringsAt)
	drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: old}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, drv)
	g.SetDesc(0, desc{0x800, 8, 0, 0})
	g.offer(t, 0)
	g.q.Complete(named(0), 0)

	other, err := virtqueue.NewMemory([]virtqueue.Region{region(0, 0x1000)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.q.SetMemory(other); !errors.Is(err, virtqueue.ErrAddress) || !errors.Is(g.q.Err(), virtqueue.ErrSetup) {
		t.Fatal(err, g.q.Err())
	}
	if err := unix.Mprotect(old, unix.PROT_NONE); err != nil { // equivalent to unmapping
		t.Fatal(err)
	}
	if n, err := g.q.Pop(g.b, 64); n != 0 || !errors.Is(err, virtqueue.ErrSetup) {
		t.Fatal(n, err)
	}
	if _, err := g.q.Available(); !errors.Is(err, virtqueue.ErrSetup) {
		t.Fatal(err)
	}
	g.q.Flush()
	if g.q.Arm() {
		t.Fatal("a queue without rings has pending chains")
	}
	g.q.Disarm()
	g.q.Flush()

	// The same memory again: the queue continues where it stopped.
	if err := unix.Mprotect(old, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	if err := g.q.SetMemory(g.Memory()); err != nil || g.q.Err() != nil {
		t.Fatal(err, g.q.Err())
	}
	g.q.Flush() // publishes the earlier completions
	if head, _, ok := g.PollUsed(); !ok || head != 0 {
		t.Fatalf("chain %d, used %t, want chain 0", head, ok)
	}
	g.SetDesc(1, desc{0x800, 8, 0, 0})
	c := g.offer(t, 1)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	g.completes(t, c)

	// A queue that the driver broke is not repaired by new memory.
	g.SetAvailIdx(g.q.LastAvail() + 9)
	g.q.Available()
	if err := g.q.SetMemory(g.Memory()); err != nil || !errors.Is(g.q.Err(), virtqueue.ErrAvailIndex) {
		t.Fatal(err, g.q.Err())
	}
}
