package virtqueue_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// FuzzPackedRing is FuzzRing for packed rings: a hostile driver writes anywhere between the
// operations of a device. The device has to agree with a naive one that follows the specification
// word by word, and may write only to used descriptors and its event suppression structure.
//
// The input is one byte each for size, features, base and wrap counter, followed by operations of 4
// bytes: an opcode and three arguments.
func FuzzPackedRing(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 4 {
			return
		}
		r := newPackedCase(t, in[0], in[1], in[2], in[3])
		for in = in[4:]; len(in) >= 4; in = in[4:] {
			r.step(in[0], in[1], binary.LittleEndian.Uint16(in[2:]))
		}
	})
}

type packedCase struct {
	*guest
	t    testing.TB
	mem  []byte // of the guest; the rings are at its beginning
	end  int    // of the rings
	size int

	// The naive device: places are counted from the beginning, without wrapping.
	next, used int
	held       []heldChain // popped and not completed, in order
	pending    []heldChain
}

// A heldChain is a chain that the device holds.
type heldChain struct {
	virtqueue.Chain
	batch *virtqueue.Batch
	descs int
	id    uint16
	n     uint32
}

func newPackedCase(t testing.TB, size, features, base, wrap byte) *packedCase {
	cfg, end := virtqueuetest.Layout(1+int(size%20), ringsAt)
	cfg.Features = packed
	for i, f := range []uint64{indirect, eventIdx, inOrder} {
		if features>>i&1 != 0 {
			cfg.Features |= f
		}
	}
	cfg.Base = uint32(int(base)%cfg.Size) | uint32(wrap%2)<<15
	if cfg.Base == 0 {
		cfg.Base = virtqueue.PackedStart
	}
	r := &packedCase{t: t, mem: make([]byte, 0x2000), end: int(end - ringsAt), size: cfg.Size}
	// Guest-physical addresses are small, so that hostile ones often hit.
	drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: r.mem}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.guest = start(t, drv)
	r.next = int(cfg.Base & 0x7fff)
	if cfg.Base>>15&1 == 0 {
		r.next += r.size // the second lap
	}
	r.used = r.next
	return r
}

// wrap returns the wrap counter of a place: 1 on the first lap.
func (r *packedCase) wrap(at int) bool { return at/r.size%2 == 0 }

// base returns a place in the queue's format.
func (r *packedCase) base(at int) uint16 {
	b := uint16(at % r.size)
	if r.wrap(at) {
		b |= 1 << 15
	}
	return b
}

// step does one operation and checks the invariants.
func (r *packedCase) step(op, a byte, b uint16) {
	switch op % 13 {
	// The driver.
	case 0: // any byte of the rings
		r.mem[int(b)%r.end] = a
		return
	case 1: // any flags
		i := int(b) % r.size
		d := r.PackedDesc(i)
		d.Flags = uint16(a)<<8 | b>>8
		r.SetPackedDesc(i, d)
		return
	case 2, 3, 4: // descriptors that are available, from where the device is
		at := r.next + int(a>>4)
		d := virtqueuetest.PackedDesc{Addr: uint64(b) & 0x1fff, Len: uint32(a)*4 + 1, ID: b >> 8, Flags: uint16(a) & 3}
		if op%13 == 4 {
			d.Flags, d.Len = flagIndirect, d.Len&^15
		}
		d.Flags |= virtqueuetest.Avail(r.wrap(at))
		r.SetPackedDesc(at%r.size, d)
		return
	case 5:
		r.SetDriverEvent(uint32(b) | uint32(a)<<16)
		return
	}

	// The device.
	before := bytes.Clone(r.mem)
	may := make([]bool, len(r.mem)) // where it may write
	switch op % 13 {
	case 6, 7:
		r.pop(int(a))
	case 8:
		r.complete(int(a), uint32(b))
	case 9:
		r.flush(may)
	case 10:
		r.arm(a, may)
	case 11:
		if err := r.q.SetMemory(r.Memory()); err != nil {
			r.t.Fatal(err)
		}
	case 12:
		r.unpop(int(a))
	}
	if r.q.LastAvail() != r.base(r.next) || r.q.UsedIdx() != r.base(r.used) || r.q.Pending() != len(r.pending) {
		r.t.Fatalf("at %#x, used %#x, %d pending; should be %#x, %#x, %d",
			r.q.LastAvail(), r.q.UsedIdx(), r.q.Pending(), r.base(r.next), r.base(r.used), len(r.pending))
	}
	for i := range before {
		if before[i] != r.mem[i] && !may[i] {
			r.t.Fatalf("the device wrote to byte %#x", i)
		}
	}
}

// chainAt is the naive look at the place where a chain begins: it returns the chain's descriptors
// as a table, which is empty if no chain is available.
func (r *packedCase) chainAt(at int) (descs []virtqueuetest.PackedDesc, endless bool) {
	limit := r.used + r.size
	if at == limit || r.flags(at%r.size)&flagEither != virtqueuetest.Avail(r.wrap(at)) {
		return nil, false
	}
	for ; at < limit; at++ {
		d := r.PackedDesc(at % r.size)
		descs = append(descs, d)
		if d.Flags&flagNext == 0 {
			return descs, false
		}
	}
	return nil, true
}

// walk is the naive walk, with the code that it shares with split rings.
func (r *packedCase) walk(descs []virtqueuetest.PackedDesc) (readable, writable [][]byte, ok bool) {
	c := chainCase{size: len(descs), features: indirect, regions: r.Regions()}
	for i, d := range descs {
		if d.Flags&flagIndirect != 0 {
			if r.Config().Features&indirect == 0 || len(descs) > 1 || d.Len == 0 || d.Len%16 != 0 || d.Len > 16*virtqueue.MaxIndirect {
				return nil, nil, false
			}
			p, ok := translate(c.regions, d.Addr, uint64(d.Len))
			if !ok {
				return nil, nil, false
			}
			c.table = parseTable(slices.Concat(p...))
			for i := range c.table {
				// The flags are where next is in a split ring's descriptor.
				c.table[i].Flags = c.table[i].Next & flagWrite
				if i < len(c.table)-1 {
					c.table[i].Flags |= flagNext
				}
				c.table[i].Next = uint16(i + 1)
			}
			break
		}
		c.table = append(c.table, desc{d.Addr, d.Len, d.Flags & (flagNext | flagWrite), uint16(i + 1)})
	}
	return c.walk(r.guest, 0)
}

func (r *packedCase) pop(limit int) {
	if r.q.Err() != nil {
		if n, err := r.q.Pop(r.b, limit); n != 0 || err == nil {
			r.t.Fatal(n, err)
		}
		return
	}
	b := virtqueue.NewBatch(1)
	n, err := r.q.Pop(b, limit)
	if n != len(b.Chains) || n > limit || err != nil && n != 0 {
		r.t.Fatalf("%d chains (%d in the batch), limit %d, %v", n, len(b.Chains), limit, err)
	}
	at := r.next
	for i := range limit {
		descs, endless := r.chainAt(at)
		if endless {
			if err != virtqueue.ErrLoop {
				r.t.Fatalf("a chain without an end: %v", err)
			}
			return
		}
		if i == n && err == nil {
			if descs != nil && n < limit && (n == 0 || len(descs) == 0) {
				r.t.Fatalf("popped %d, but there is one more", n)
			}
			break
		}
		if descs == nil {
			r.t.Fatalf("popped %d chains, there are %d; %v", n, i, err)
		}
		if err == nil {
			r.hold(b, i, descs)
		}
		at += len(descs)
	}
	if err != nil {
		if err != virtqueue.ErrLoop {
			r.t.Fatal(err)
		}
		r.t.Fatal("broken by good chains")
	}
	r.next = at
}

// hold compares a chain that was popped with the contents of the ring.
func (r *packedCase) hold(b *virtqueue.Batch, i int, descs []virtqueuetest.PackedDesc) {
	got := b.Chains[i]
	readable, writable, ok := r.walk(descs)
	if ok != (got.Err == nil) || got.Head() != descs[len(descs)-1].ID ||
		!slices.EqualFunc(got.Readable, readable, sameMemory) || !slices.EqualFunc(got.Writable, writable, sameMemory) {
		r.t.Fatalf("chain %d: %v, %v + %v bytes; should be good: %t, chain %d, %v + %v bytes", got.Head(), got.Err,
			lengths(got.Readable), lengths(got.Writable), ok, descs[len(descs)-1].ID, lengths(readable), lengths(writable))
	}
	r.held = append(r.held, heldChain{Chain: got, batch: b, descs: len(descs), id: got.Head()})
}

func (r *packedCase) complete(n int, bytes uint32) {
	for range min(n, len(r.held)) {
		h := r.held[0]
		r.held = r.held[1:]
		h.n = bytes
		r.q.Complete(&h.Chain, h.n)
		r.pending = append(r.pending, h)
	}
}

// flush publishes completions, and reads them as a driver does.
func (r *packedCase) flush(may []bool) {
	mark := binary.LittleEndian.AppendUint64(nil, virtqueue.UsedMark(r.base(r.used)))
	r.q.Flush()
	if !r.published(r.used, r.pending) {
		r.t.Fatalf("chains %v are not returned", r.pending)
	}
	for _, h := range r.pending {
		for i := range h.descs {
			at := (r.used + i) % r.size * 16
			if !bytes.Equal(r.mem[at:][:8], mark) {
				r.t.Fatalf("place %d has no mark, but contains %x", at/16, r.mem[at:][:8])
			}
			for j := range 16 {
				may[at+j] = may[at+j] || j < 8 || i == 0
			}
		}
		r.used += h.descs
	}
	r.pending = nil
}

// published reports whether the used descriptors from a place on return the given chains.
func (r *packedCase) published(at int, chains []heldChain) bool {
	if len(chains) == 0 {
		return true
	}
	says := func(h heldChain) bool {
		flags := virtqueuetest.Used(r.wrap(at))
		if h.n != 0 {
			flags |= flagWrite
		}
		d := r.PackedDesc(at % r.size)
		return d.ID == h.id && d.Len == h.n && d.Flags == flags
	}
	return says(chains[0]) && r.published(at+chains[0].descs, chains[1:])
}

func (r *packedCase) arm(a byte, may []bool) {
	at := int(r.Config().Used - ringsAt)
	for i := range 4 {
		may[at+i] = true
	}
	if a%2 != 0 {
		r.q.Disarm()
		return
	}
	descs, endless := r.chainAt(r.next)
	if want := (descs != nil || endless) && r.q.Err() == nil; r.q.Arm() != want {
		r.t.Fatalf("armed: pending is %t", !want)
	}
}

// unpop returns the chains of the last batch that are still held to the ring.
func (r *packedCase) unpop(n int) {
	if len(r.held) == 0 {
		return
	}
	b := r.held[len(r.held)-1].batch
	for range n {
		last := len(r.held) - 1
		if last < 0 || r.held[last].batch != b {
			return
		}
		r.q.Unpop(b, 1)
		r.next -= r.held[last].descs
		r.held = r.held[:last]
	}
}

// The same with operations that are random but mostly not hostile, so that the positions go around
// the rings many times.
func TestPackedRingAtRandom(t *testing.T) {
	laps := 0
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		r := newPackedCase(t, byte(rnd.Uint32()), byte(seed), byte(rnd.Uint32()), byte(rnd.Uint32()))
		first := r.used
		hostile := seed%4 == 0
		for range 600 {
			op, a, b := byte(2+rnd.IntN(11)), byte(rnd.Uint32()), uint16(rnd.Uint32())
			if op < 5 && !hostile {
				a &= 0x0e // exactly at the device's position, one descriptor
				if op == 4 {
					continue
				}
			}
			if op == 11 && (len(r.pending) > 0 || r.q.Err() != nil) {
				continue
			}
			if hostile && rnd.IntN(20) == 0 {
				op = byte(rnd.IntN(2))
			}
			r.step(op, a, b)
		}
		laps += (r.used - first) / r.size
	}
	if laps < 500 {
		t.Fatalf("%d laps", laps)
	}
}
