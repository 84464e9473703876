package virtqueue

import "math"

// This file follows chains that have more than one descriptor or span more than one region. The
// chains of a packed ring are passed as a table in the format of a split ring.

// walk fills c with the chain in table whose first descriptor is d. It returns the cost: the number
// of descriptors, plus that of pieces beyond the first of each descriptor.
func (q *Queue) walk(b *Batch, c *Chain, table [][2]uint64, d desc) (cost int) {
	segs, readable, cost, err := q.walkTable(b, table, d)
	if err != nil {
		c.Readable, c.Writable, c.Err = nil, nil, err
		return cost
	}
	from, to := len(b.segs), len(segs)
	c.Readable, c.Writable, c.Err = segs[from:readable:readable], segs[readable:to:to], nil
	b.segs = segs
	return cost
}

// walkTable returns b.segs followed by the pieces of the chain whose first descriptor is d, the
// index at which the device-readable pieces end, and the cost.
func (q *Queue) walkTable(b *Batch, table [][2]uint64, d desc) (segs [][]byte, readable, cost int, err error) {
	left, inIndirect := len(table), false
	segs, readable = b.segs, -1
	for total := uint64(0); ; d = loadDesc(&table[d.next]) {
		if left--; left < 0 {
			return nil, 0, cost, ErrLoop
		}
		cost++
		if d.flags&descIndirect != 0 {
			// "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT
			// in flags", nor the former in an indirect table (2.7.5.3.1).
			if !q.indirect || inIndirect || d.flags&descNext != 0 {
				return nil, 0, cost, ErrIndirect
			}
			if table, err = q.copyTable(b, segs, d.addr, d.len); err != nil {
				return nil, 0, cost, err
			}
			if q.isPacked {
				q.sequence(table)
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
		// "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in total"
		// (2.7.5.2); the used ring has 32 bits for the number of bytes written.
		if total += uint64(d.len); total > math.MaxUint32 {
			return nil, 0, cost, ErrTooLong
		}
		if off, size := d.addr-q.hot.GuestAddr, uint64(len(q.hot.Mem)); off < size && uint64(d.len) <= size-off {
			segs = append(segs, q.hot.Mem[off:off+uint64(d.len):off+uint64(d.len)])
		} else {
			had := len(segs)
			if segs, err = q.translate(segs, d.addr, d.len); err != nil {
				return nil, 0, cost, err
			}
			cost += len(segs) - had - 1
		}
		if len(segs)-len(b.segs) > q.maxPieces {
			return nil, 0, cost, ErrTooLong
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

// translate appends the pieces of n bytes at addr to segs, and caches the region that
// contains addr in q.hot.
func (q *Queue) translate(segs [][]byte, addr uint64, n uint32) ([][]byte, error) {
	segs, err := q.mem.appendRange(segs, addr, uint64(n))
	if err == nil {
		q.hot = *q.mem.find(addr)
	}
	return segs, err
}

// copyTable returns a private copy of the indirect table of n bytes at addr (2.7.5.3): the table
// may straddle regions, need not be aligned, and must not change while it is walked. The copy is
// valid until the next call. The free capacity of segs is scratch space.
func (q *Queue) copyTable(b *Batch, segs [][]byte, addr uint64, n uint32) ([][2]uint64, error) {
	if n == 0 || n%descSize != 0 || n > MaxIndirect*descSize {
		return nil, ErrIndirect
	}
	if b.indirect == nil {
		b.indirect = make([][2]uint64, MaxIndirect)
	}
	table := b.indirect[:n/descSize]
	to := bytesOf(table)
	if off, size := addr-q.hot.GuestAddr, uint64(len(q.hot.Mem)); off < size && uint64(n) <= size-off {
		copy(to, q.hot.Mem[off:])
		return table, nil
	}
	cut, err := q.translate(segs, addr, n)
	if err != nil {
		return nil, err
	}
	for _, p := range cut[len(segs):] {
		to = to[copy(to, p):]
	}
	return table, nil
}
