package virtqueue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A resumeCase is a driver whose device dies again and again, and a front-end that does not know
// the device's position.
type resumeCase struct {
	*guest
	t    *testing.T
	rnd  *rand.Rand
	most int // limit for descriptors that are available at the same time

	first   uint32   // the base at which the ring began
	offered []uint16 // chains that have not been returned to the driver, in order
	emu     place    // position of the front-end's own device
	dropped int      // number of chains that the front-end's device has used
}

// A place is an index in a packed ring, and the lap's wrap counter.
type place struct {
	idx  int
	wrap bool
}

func (p place) base() uint16 {
	if p.wrap {
		return uint16(p.idx) | 1<<15
	}
	return uint16(p.idx)
}

func (p place) add(n, size int) place {
	if p.idx += n; p.idx >= size {
		p.idx, p.wrap = p.idx-size, !p.wrap
	}
	return p
}

func newResumeCase(t *testing.T, features, seed uint64) *resumeCase {
	rnd := rand.New(rand.NewPCG(seed, features))
	size := 4 + rnd.IntN(60)
	if features&packed == 0 {
		size = 1 << (2 + rnd.IntN(4))
	}
	g := newGuest(t, size, features)
	c := &resumeCase{guest: g, t: t, rnd: rnd, first: g.Config().Base, emu: place{wrap: true}, most: size}
	return c
}

// step is one operation of the driver, or of a device that is alive.
func (c *resumeCase) step() {
	switch c.rnd.IntN(3) {
	case 0:
		for range c.rnd.IntN(c.Config().Size + 1) {
			c.offer1()
		}
		c.Publish()
	case 1:
		c.b.Reset()
		n, err := c.q.Pop(c.b, c.rnd.IntN(c.Config().Size+1))
		if err != nil {
			c.t.Fatal(err)
		}
		keep := 0
		if n > 0 {
			keep = c.rnd.IntN(n + 1)
		}
		c.q.Unpop(c.b, n-keep)
		for i := range keep {
			c.q.Complete(&c.b.Chains[i], 0)
		}
		c.q.Flush()
	case 2:
		c.collect(c.rnd.IntN(c.Config().Size + 1))
	}
}

// offer1 offers one chain, if there is room.
func (c *resumeCase) offer1() {
	bufs := make([]buf, 1+c.rnd.IntN(3))
	if c.Config().Size-c.Free()+len(bufs) > c.most {
		return
	}
	for i := range bufs {
		bufs[i] = buf{Addr: c.Alloc(8).Addr, Len: 8}
	}
	add := c.AddChain
	if c.rnd.IntN(2) == 0 {
		add = c.AddIndirect
	}
	id, err := add(bufs, nil)
	for i := range bufs {
		c.FreeBuf(bufs[i])
	}
	if err == nil {
		c.offered = append(c.offered, id)
	}
}

// collect makes the driver take back up to n chains, which have to be the oldest.
func (c *resumeCase) collect(n int) {
	for range n {
		id, _, ok := c.PollUsed()
		if !ok {
			return
		}
		if len(c.offered) == 0 || c.offered[0] != id {
			c.t.Fatalf("chain %d is returned, the driver waits for %v", id, c.offered)
		}
		c.Release(id)
		c.offered = c.offered[1:]
	}
}

// drop is QEMU's handling of a transmit queue while it has no back-end: it uses the available
// chains from the position that it takes for the right one.
func (c *resumeCase) drop() {
	size := c.Config().Size
	for {
		at, n, id := c.emu, 0, uint16(0)
		for {
			d := c.PackedDesc(at.idx)
			if d.Flags&flagEither != virtqueuetest.Avail(at.wrap) {
				return
			}
			at = at.add(1, size)
			n, id = n+1, d.ID
			if d.Flags&flagNext == 0 || n > size {
				break
			}
		}
		d := c.PackedDesc(c.emu.idx)
		d.ID, d.Len, d.Flags = id, 0, virtqueuetest.Used(c.emu.wrap)
		c.SetPackedDesc(c.emu.idx, d)
		c.emu = at
		c.dropped++
	}
}

// die makes another device resume, and then use all chains.
func (c *resumeCase) die(base uint32) {
	cfg := c.Config()
	was := c.q.UsedIdx()
	cfg.Base = base
	q, err := virtqueue.New(c.Memory(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := q.Resume(); err != nil {
		c.t.Fatal(err)
	}
	if c.dropped == 0 && q.UsedIdx() != was {
		c.t.Fatalf("the device died at %#x, and is resumed at %#x", was, q.UsedIdx())
	}
	c.q = q
}

func (c *resumeCase) drain() {
	for {
		c.b.Reset()
		n, err := c.q.Pop(c.b, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for i := range c.b.Chains {
			c.q.Complete(&c.b.Chains[i], 0)
		}
		c.q.Flush()
	}
	c.collect(c.Config().Size)
	if len(c.offered) != 0 {
		c.t.Fatalf("chains %v are not returned", c.offered)
	}
}

// A device finds the position of its predecessor, whatever has happened and whatever base the
// front-end passes.
func TestResume(t *testing.T) {
	for features, name := range everyFormat() {
		for seed := range uint64(60) {
			t.Run(fmt.Sprintf("%s/seed=%d", name, seed), func(t *testing.T) {
				c := newResumeCase(t, features|indirect, seed)
				for range 30 {
					for range c.rnd.IntN(30) {
						c.step()
					}
					base := c.first
					if features&packed == 0 {
						base = c.rnd.Uint32() & 0xffff
					}
					c.die(base)
				}
				c.drain()
			})
		}
	}
}

// While there is no back-end, QEMU's own device uses the chains that the guest transmits, at a
// position that may be wrong, and passes that position as the base.
func TestResumeAfterFrontEndDropped(t *testing.T) {
	dropped := 0
	for seed := range uint64(600) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := newResumeCase(t, packed|indirect, seed)
			// Drivers keep some descriptors free, for the longest possible chain.
			c.most = c.Config().Size - 3
			for range 20 {
				for range c.rnd.IntN(30) {
					c.step()
				}
				for range c.rnd.IntN(3) {
					c.drop()
					for range c.rnd.IntN(3) {
						c.offer1()
					}
					c.Publish()
					c.collect(c.rnd.IntN(3))
				}
				c.die(uint32(c.emu.base()) | uint32(c.emu.base())<<16)
			}
			c.drain()
			dropped += c.dropped
		})
	}
	if dropped < 1000 {
		t.Fatalf("only %d chains were dropped", dropped)
	}
}

// A ring that no device has used, or only one that leaves no marks, is resumed at its base.
func TestResumeWithoutMarks(t *testing.T) {
	for _, base := range []uint32{virtqueue.PackedStart, 3 | 1<<15, 5} {
		g := newGuest(t, 8, packed)
		g.Abandon(uint16(base))
		for range 3 {
			g = start(t, g.Driver)
			if err := g.q.Resume(); err != nil || g.q.UsedIdx() != uint16(base) || g.q.LastAvail() != uint16(base) {
				t.Fatalf("base %#x: %v, %#x", base, err, g.q.Base())
			}
			must(g.AddChain([]buf{g.Alloc(8), g.Alloc(8)}, nil))
			g.Publish()
		}
	}
}

// Whatever a ring contains, Resume finds a position or none, and touches nothing else.
func FuzzResume(f *testing.F) {
	f.Fuzz(func(t *testing.T, size uint8, base uint32, ring []byte) {
		n := 1 + int(size%12)
		g := newGuest(t, n, packed|indirect)
		for i := range n {
			if len(ring) < 6 {
				break
			}
			d := virtqueuetest.PackedDesc{Addr: 0x4000_1000, Len: uint32(ring[0]), ID: uint16(ring[1] % 4)}
			d.Flags = uint16(ring[2]&0x87) | uint16(ring[2]&8)<<12
			if ring[3]&1 != 0 {
				d.Addr = virtqueue.UsedMark(uint16(ring[4]%16) | uint16(ring[4]&0x80)<<8)
			}
			g.SetPackedDesc(i, d)
			ring = ring[5:]
		}
		cfg := g.Config()
		cfg.Base = base
		q, err := virtqueue.New(g.Memory(), cfg)
		if err != nil {
			return
		}
		if err := q.Resume(); err != nil {
			t.Fatal(err)
		}
		if at := q.UsedIdx(); int(at&0x7fff) >= n || at != q.LastAvail() {
			t.Fatalf("resumed at %#x, %#x", at, q.LastAvail())
		}
		b := virtqueue.NewBatch(16)
		if _, err := q.Pop(b, 16); err != nil {
			return
		}
		if len(b.Chains) > n {
			t.Fatalf("%d chains in a ring of %d", len(b.Chains), n)
		}
		for i := range slices.Clone(b.Chains) {
			q.Complete(&b.Chains[i], 0)
		}
		q.Flush()
	})
}
