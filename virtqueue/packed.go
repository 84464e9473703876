package virtqueue

import "fmt"

// packed is the private state of a packed ring.
//
// The ring has one place for each descriptor, and both sides go around it: the driver makes
// descriptors available, the device pops them (next) behind the driver, and marks them used (used)
// behind next. The inUse places from used to next belong to the device. A driver that keeps the
// rules cannot make them available again; if a driver breaks the rules, the device still looks at
// no place before it has marked that place used, which bounds the number of descriptors that a
// driver can make it hold.
//
// Buffer IDs belong to the driver. They are returned unchanged and not interpreted here, so there
// are no rules for them that a driver could break.
type packed struct {
	packedRing
	next  packedPos // the next place to pop a descriptor from
	used  packedPos // the next place to write a used descriptor to
	inUse int       // places from used to next

	moved int    // places by which the last batch advanced used
	event uint32 // device event suppression, as last written
}

// A packedPos is a place in the ring, and the lap around the ring.
type packedPos struct {
	idx int
	// lap is the flags of a descriptor that is used on this lap: both set when the wrap counter
	// is 1, neither when it is 0 (2.8.1).
	lap uint16
}

// avail returns the availability flags of a descriptor that is available at this position:
// descAvail is the wrap counter, descUsed its inverse.
func (p packedPos) avail() uint16 { return p.lap ^ descUsed }

// base returns the position in the format of SET_VRING_BASE and the event suppression structures,
// with the wrap counter in bit 15.
func (p packedPos) base() uint16 { return uint16(p.idx) | p.lap&descUsed }

// packedPosOf is the inverse of base.
func packedPosOf(base uint16) packedPos {
	p := packedPos{idx: int(base &^ (1 << 15))}
	if base>>15 != 0 {
		p.lap = descEither
	}
	return p
}

// add returns the position n places ahead, at most one lap, in a ring of size places.
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

// distance returns by how many places, less than two laps, p is ahead of q.
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

// startPacked sets the positions from Config.Base. A device that works in order continues with the
// first descriptor that was not used, so that descriptors that a crashed device popped are not
// lost. Some front-ends do not know that position, and leave it 0.
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
