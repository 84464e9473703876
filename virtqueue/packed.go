package virtqueue

import "fmt"

// packed is the private state of a packed ring.
//
// The ring has one place for each descriptor, and both sides go around it: the
// driver makes descriptors available, behind it we take them (next), and behind
// that we use them (used). What lies between used and next is ours: inUse
// places. A driver that keeps the rules cannot make those available again; with one
// that does not, we look at no place before we have given it back, so that what it
// can have us hold is bounded.
//
// Buffer IDs are the driver's. They are handed back as they are and mean nothing
// here, so that no rule for them can be broken.
type packed struct {
	packedRing
	next  packedPos // the next place to take a descriptor from
	used  packedPos // the next place to write a used descriptor to
	inUse int       // places from used to next

	moved int    // places that used has moved by the last batch
	event uint32 // device event suppression, as last written
}

// A packedPos is a place in the ring, and on which lap.
type packedPos struct {
	idx int
	// lap is the flags of a descriptor that is used on this lap: both set where the
	// wrap counter is 1, and neither where it is 0 (2.8.1).
	lap uint16
}

// avail returns the flags of a descriptor that is available here: descAvail is the
// wrap counter, descUsed the inverse of it.
func (p packedPos) avail() uint16 { return p.lap ^ descUsed }

// base returns the position as SET_VRING_BASE and the event suppression structures have
// it: the wrap counter in bit 15.
func (p packedPos) base() uint16 { return uint16(p.idx) | p.lap&descUsed }

// packedPosOf is the opposite of base.
func packedPosOf(base uint16) packedPos {
	p := packedPos{idx: int(base &^ (1 << 15))}
	if base>>15 != 0 {
		p.lap = descEither
	}
	return p
}

// add returns the position n places, at most one lap, further on in a ring of size
// places.
func (p packedPos) add(n, size int) packedPos {
	if p.idx += n; p.idx >= size {
		p.idx -= size
		p.lap ^= descEither
	}
	return p
}

// sub returns the position n places, at most one lap, back.
func (p packedPos) sub(n, size int) packedPos {
	if p.idx -= n; p.idx < 0 {
		p.idx += size
		p.lap ^= descEither
	}
	return p
}

// distance returns how many places, less than two laps, p is ahead of q.
func (p packedPos) distance(q packedPos, size int) int {
	n := p.idx - q.idx
	if p.lap != q.lap {
		n += size
	}
	if n < 0 {
		n += 2 * size
	}
	return n
}

// startPacked sets the positions that the base has. A device that works in order goes
// on with the first descriptor that was not used, so that what was taken by one
// that died is not lost. Some front-ends do not know where that is, and leave it 0.
func (q *Queue) startPacked() error {
	p, base := &q.packed, q.cfg.Base
	at := uint16(base >> 16)
	if at == 0 {
		at = uint16(base)
	}
	p.used = packedPosOf(at)
	if p.used.idx >= q.cfg.Size {
		return fmt.Errorf("%w: base %#x is not in a ring of %d", ErrSetup, base, q.cfg.Size)
	}
	p.next = p.used
	p.event = ^uint32(0) // unknown
	if err := guard(func() { loadPacked(&p.desc[p.next.idx]) }); err != nil {
		return fmt.Errorf("%w: reading the descriptor ring: %w", ErrSetup, err)
	}
	return nil
}
