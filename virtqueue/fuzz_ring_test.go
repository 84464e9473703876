package virtqueue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// FuzzRing lets a hostile driver write anywhere in the rings between the operations of a device.
// Whatever the driver writes, the device gets slices of guest memory and consistent counts, and
// writes only to the used ring.
//
// The input is one byte each for size, features, alignment of the available ring and the first
// index, followed by operations of 4 bytes: an opcode and three arguments.
func FuzzRing(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 4 {
			return
		}
		r := newRingCase(t, in[0], in[1], in[2], in[3])
		for in = in[4:]; len(in) >= 4; in = in[4:] {
			r.step(in[0], in[1], binary.LittleEndian.Uint16(in[2:]))
		}
	})
}

type ringCase struct {
	*guest
	t         testing.TB
	mem       []byte // of the guest; the rings are at its beginning
	used, end int    // where in there the used ring is
	held      []virtqueue.Chain
	pending   int
	usedIdx   uint16
	lastAvail uint16
	wasBroken error
}

func newRingCase(t testing.TB, size, features, shift, base byte) *ringCase {
	cfg, _ := virtqueuetest.Layout(1<<(size%7), ringsAt)
	move := uint64(shift%2) * 2
	cfg.Avail += move
	cfg.Used = (cfg.Avail + 4 + 2*uint64(cfg.Size) + 2 + 3) &^ 3
	end := cfg.Used + 4 + 8*uint64(cfg.Size) + 2
	if features&1 != 0 {
		cfg.Features |= indirect
	}
	if features&2 != 0 {
		cfg.Features |= eventIdx
	}
	cfg.Base = uint32(uint16(int8(base)))
	r := &ringCase{
		t:         t,
		mem:       make([]byte, 0x2000),
		used:      int(cfg.Used - ringsAt),
		end:       int(end - ringsAt),
		usedIdx:   uint16(cfg.Base),
		lastAvail: uint16(cfg.Base),
	}
	// Guest-physical addresses are small, so that hostile ones often hit.
	drv, err := virtqueuetest.New([]virtqueue.Region{{GuestAddr: 0, UserAddr: ringsAt, Mem: r.mem}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.guest = start(t, drv)
	return r
}

// step does one operation and checks the invariants.
func (r *ringCase) step(op, a byte, b uint16) {
	q := r.q
	switch op % 12 {
	// The driver.
	case 0: // any byte of the rings
		r.mem[int(b)%r.end] = a
		return
	case 1:
		r.SetAvailIdx(b)
		return
	case 2: // a valid increment
		_, idx := r.Avail()
		r.SetAvailIdx(idx + uint16(a%64))
		return
	case 3:
		r.SetAvailEntry(uint16(int(a)%r.Config().Size), b%uint16(r.Config().Size+int(b>>14)))
		return
	case 4: // a descriptor of a small length, in the table or in an indirect one
		d := desc{uint64(b) & 0x1fff, uint32(a)*4 + 1, uint16(a>>1) & 3, b >> 8}
		if a&0x80 != 0 {
			d.Flags, d.Len = flagIndirect, d.Len&^15
		}
		r.SetDesc(b%uint16(r.Config().Size), d)
		return
	case 5:
		r.SetUsedEvent(b)
		return
	}

	// The device.
	before := bytes.Clone(r.mem)
	switch op % 12 {
	case 6, 7:
		r.pop(int(a))
	case 8:
		n := min(int(a), len(r.held))
		for _, c := range r.held[:n] {
			q.Complete(&c, uint32(b))
		}
		r.held = r.held[n:]
		r.pending += n
	case 9:
		q.Flush()
		r.usedIdx += uint16(r.pending)
		published := r.pending > 0
		r.pending = 0
		if _, idx := r.Used(); published && idx != r.usedIdx {
			r.t.Fatalf("published %d, should be %d", idx, r.usedIdx)
		}
	case 10:
		r.arm(a)
	case 11:
		r.other(a)
	}
	if q.Pending() != r.pending || q.UsedIdx() != r.usedIdx || q.LastAvail() != r.lastAvail {
		r.t.Fatalf("pending %d, used %d, available %d; should be %d, %d, %d",
			q.Pending(), q.UsedIdx(), q.LastAvail(), r.pending, r.usedIdx, r.lastAvail)
	}
	if !bytes.Equal(before[:r.used], r.mem[:r.used]) || !bytes.Equal(before[r.end:], r.mem[r.end:]) {
		r.t.Fatal("the device wrote outside the used ring")
	}
	if r.wasBroken != nil && q.Err() == nil {
		r.t.Fatalf("the queue is no longer broken: %v", r.wasBroken)
	}
	r.wasBroken = q.Err()
}

func (r *ringCase) pop(limit int) {
	available, err := r.q.Available()
	r.b.Reset()
	n, popErr := r.q.Pop(r.b, limit)
	if popErr != nil {
		if n != 0 || len(r.b.Chains) != 0 || r.q.Err() == nil || err != nil && !errors.Is(popErr, err) {
			r.t.Fatalf("%d chains (%d in the batch), %v, %v, %v", n, len(r.b.Chains), err, popErr, r.q.Err())
		}
		return
	}
	if err != nil || n != len(r.b.Chains) || n > limit || n > available || available > r.Config().Size || n == 0 && min(available, limit) > 0 {
		r.t.Fatalf("%d chains (%d in the batch) of %d, limit %d, %v", n, len(r.b.Chains), available, limit, err)
	}
	// Nothing has been written in between, so the naive walk sees the same memory.
	c := chainCase{r.Config().Size, r.Config().Features, r.Regions(), parseTable(r.mem[:16*r.Config().Size])}
	for _, chain := range r.b.Chains {
		if int(chain.Head()) >= c.size {
			r.t.Fatal(chain)
		}
		c.compare(r.t, r.guest, chain)
		r.held = append(r.held, chain)
	}
	r.lastAvail += uint16(n)
}

func (r *ringCase) arm(a byte) {
	if a%2 != 0 {
		r.q.Disarm()
		return
	}
	_, idx := r.Avail()
	want := idx != r.lastAvail && r.q.Err() == nil
	if r.q.Arm() != want {
		r.t.Fatalf("armed with %d available of %d: pending is %t", idx, r.lastAvail, !want)
	}
}

func (r *ringCase) other(a byte) {
	switch a % 3 {
	case 0:
		r.pending = min(r.pending, int(a))
		r.q.Rollback(r.pending)
	case 1:
		n := min(int(a), len(r.b.Chains), len(r.held))
		r.q.Unpop(r.b, n)
		r.held = r.held[:len(r.held)-n]
		r.lastAvail -= uint16(n)
	case 2:
		if err := r.q.SetMemory(r.Memory()); err != nil {
			r.t.Fatal(err)
		}
	}
}
