package virtqueue

import (
	"math"
	"slices"
)

// This file is the hot path on the way in: from available descriptors to slices.
// It allocates only to grow a Batch. The loop over heads comes first and touches
// nothing but rings and descriptors, so that the cache misses of a whole batch
// overlap; buffers are touched by whoever uses the chains.

// Available returns how many chains the driver has made available and Pop has
// not taken.
func (q *Queue) Available() (int, error) {
	if q.broken != nil {
		return 0, q.broken
	}
	n := int(q.ring.loadAvailIdx() - q.lastAvail)
	if n > int(q.mask)+1 {
		return 0, q.fail(ErrAvailIndex)
	}
	return n, nil
}

// Pop appends up to limit available chains to b and returns how many: at least
// one if there is one, fewer than there are if they are long. Bad chains are
// among them, with Err set; they, too, have to be completed. An error is the
// queue's, which is then broken; nothing was popped.
func (q *Queue) Pop(b *Batch, limit int) (int, error) {
	n, err := q.Available()
	if n = min(n, limit); n <= 0 || err != nil {
		return 0, err
	}
	// What the loop reads is in local variables: the compiler cannot know that
	// storing chains does not change it.
	had, idx, mask := len(b.Chains), q.lastAvail, q.mask
	chains, segs := slices.Grow(b.Chains, n)[:had+n], b.segs
	avail, hot, hotAddr := q.ring.avail, q.hot.Mem, q.hot.GuestAddr
	i := had
	for cost := 0; i < len(chains) && cost < maxPopCost; i++ {
		head := avail[idx&mask]
		if head > mask {
			return 0, q.fail(ErrHead)
		}
		idx++
		c := &chains[i]
		c.Head = head
		d := loadDesc(&q.ring.desc[head])
		off, size := d.addr-hotAddr, uint64(len(hot))
		if d.flags&(descNext|descIndirect) != 0 || off >= size || uint64(d.len) > size-off || d.len == 0 {
			b.segs = segs
			cost += q.walk(b, c, d)
			segs, hot, hotAddr = b.segs, q.hot.Mem, q.hot.GuestAddr
			continue
		}
		// One descriptor in the region where the last one was: nearly all
		// of them, with drivers that put header and data into one.
		cost++
		segs = append(segs, hot[off:off+uint64(d.len):off+uint64(d.len)])
		s := segs[len(segs)-1 : len(segs) : len(segs)]
		if d.flags&descWrite == 0 {
			c.Readable, c.Writable, c.Err = s, nil, nil
		} else {
			c.Readable, c.Writable, c.Err = nil, s, nil
		}
	}
	b.Chains, b.segs = chains[:i], segs
	q.lastAvail = idx
	return i - had, nil
}

// Unpop gives the last n popped chains back, as if they had not been popped, and
// removes them from b. None of them may have been completed.
func (q *Queue) Unpop(b *Batch, n int) {
	b.Chains = b.Chains[:len(b.Chains)-n]
	q.lastAvail -= uint16(n)
}

// walk fills c with the chain whose first descriptor is d. It returns what that
// cost: descriptors, and pieces of them beyond the first.
func (q *Queue) walk(b *Batch, c *Chain, d desc) (cost int) {
	segs, readable, cost, err := q.walkTable(b, d)
	if err != nil {
		c.Readable, c.Writable, c.Err = nil, nil, err
		return cost
	}
	from, to := len(b.segs), len(segs)
	c.Readable, c.Writable, c.Err = segs[from:readable:readable], segs[readable:to:to], nil
	b.segs = segs
	return cost
}

// walkTable returns b.segs with the pieces of the chain whose first descriptor is
// d behind them, where in there the device-readable part ends, and the cost.
func (q *Queue) walkTable(b *Batch, d desc) (segs [][]byte, readable, cost int, err error) {
	table, left, inIndirect := q.ring.desc, len(q.ring.desc), false
	segs, readable = b.segs, -1
	for total := uint64(0); ; d = loadDesc(&table[d.next]) {
		if left--; left < 0 {
			return nil, 0, cost, ErrLoop
		}
		cost++
		if d.flags&descIndirect != 0 {
			// "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and
			// VIRTQ_DESC_F_NEXT in flags", nor the former in an indirect
			// table (2.7.5.3.1).
			if !q.indirect || inIndirect || d.flags&descNext != 0 {
				return nil, 0, cost, ErrIndirect
			}
			if table, err = q.copyTable(b, segs, d); err != nil {
				return nil, 0, cost, err
			}
			left, inIndirect = len(table), true
			d.next = 0
			continue
		}
		if d.len == 0 {
			return nil, 0, cost, ErrZeroLen
		}
		if d.flags&descWrite != 0 {
			if readable < 0 {
				readable = len(segs)
			}
		} else if readable >= 0 {
			// "the device-readable elements come first" (2.7.4.2)
			return nil, 0, cost, ErrDirection
		}
		// "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in
		// total" (2.7.5.2); the used ring has 32 bits for what was written.
		if total += uint64(d.len); total > math.MaxUint32 {
			return nil, 0, cost, ErrTooLong
		}
		if off, size := d.addr-q.hot.GuestAddr, uint64(len(q.hot.Mem)); off < size && uint64(d.len) <= size-off {
			segs = append(segs, q.hot.Mem[off:off+uint64(d.len):off+uint64(d.len)])
		} else {
			had := len(segs)
			if segs, err = q.translate(segs, d); err != nil {
				return nil, 0, cost, err
			}
			cost += len(segs) - had - 1
			if len(segs)-len(b.segs) > maxChainSegs {
				return nil, 0, cost, ErrTooLong
			}
		}
		if d.flags&descNext == 0 {
			break
		}
		if int(d.next) >= len(table) {
			return nil, 0, cost, ErrNext
		}
	}
	if readable < 0 {
		readable = len(segs)
	}
	return segs, readable, cost, nil
}

// translate appends the pieces of descriptor d to segs, and makes the region that
// it begins in the hot one.
func (q *Queue) translate(segs [][]byte, d desc) ([][]byte, error) {
	segs, err := q.mem.appendRange(segs, d.addr, uint64(d.len))
	if err == nil {
		q.hot = *q.mem.find(d.addr)
	}
	return segs, err
}

// copyTable returns a private copy of the indirect table that d names (2.7.5.3),
// valid until the next one: the table may straddle regions, need not be
// aligned, and must not change while it is being walked. It uses the room
// behind segs.
func (q *Queue) copyTable(b *Batch, segs [][]byte, d desc) ([][2]uint64, error) {
	if d.len == 0 || d.len%descSize != 0 || d.len > MaxIndirect*descSize {
		return nil, ErrIndirect
	}
	if b.indirect == nil {
		b.indirect = make([][2]uint64, MaxIndirect)
	}
	table := b.indirect[:d.len/descSize]
	to := bytesOf(table)
	if off, size := d.addr-q.hot.GuestAddr, uint64(len(q.hot.Mem)); off < size && uint64(d.len) <= size-off {
		copy(to, q.hot.Mem[off:])
		return table, nil
	}
	pieces, err := q.translate(segs, d)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces[len(segs):] {
		to = to[copy(to, p):]
	}
	return table, nil
}
