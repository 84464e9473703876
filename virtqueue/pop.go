package virtqueue

import "encoding/binary"

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

// Pop appends up to limit available chains to b and returns how many. Bad
// chains are among them, with Err set; they, too, have to be completed. An
// error is the queue's, which is then broken; nothing was popped.
func (q *Queue) Pop(b *Batch, limit int) (int, error) {
	n, err := q.Available()
	if n == 0 || err != nil {
		return 0, err
	}
	n = min(n, limit)
	had := len(b.Chains)
	idx := q.lastAvail
	for range n {
		head := q.ring.avail[idx&q.mask]
		if head > q.mask {
			b.Chains = b.Chains[:had]
			return 0, q.fail(ErrHead)
		}
		q.walk(b, head)
		idx++
		if len(b.segs) >= maxBatchSegs {
			break
		}
	}
	q.lastAvail = idx
	return len(b.Chains) - had, nil
}

// Unpop gives the last n popped chains back, as if they had not been popped, and
// removes them from b. None of them may have been completed.
func (q *Queue) Unpop(b *Batch, n int) {
	b.Chains = b.Chains[:len(b.Chains)-n]
	q.lastAvail -= uint16(n)
}

// walk appends the chain that begins at descriptor head to b.
func (q *Queue) walk(b *Batch, head uint16) {
	addr, n, flags, next := q.ring.loadDesc(head)
	from := len(b.segs)
	if flags&(descNext|descIndirect) == 0 {
		if off := addr - q.hot.GuestAddr; off < uint64(len(q.hot.Mem)) && uint64(n) <= uint64(len(q.hot.Mem))-off && n != 0 {
			b.segs = append(b.segs, q.hot.Mem[off:off+uint64(n):off+uint64(n)])
			c := Chain{Head: head}
			if s := b.segs[from:len(b.segs):len(b.segs)]; flags&descWrite == 0 {
				c.Readable = s
			} else {
				c.Writable = s
			}
			b.Chains = append(b.Chains, c)
			return
		}
	}
	readable, err := q.walkLong(b, addr, n, flags, next)
	if err != nil {
		b.segs = b.segs[:from]
		b.Chains = append(b.Chains, Chain{Head: head, Err: err})
		return
	}
	to := len(b.segs)
	b.Chains = append(b.Chains, Chain{
		Head:     head,
		Readable: b.segs[from:readable:readable],
		Writable: b.segs[readable:to:to],
	})
}

// walkLong walks a chain of any kind, whose first descriptor has been loaded. It
// returns where in b.segs the device-readable part ends.
func (q *Queue) walkLong(b *Batch, addr uint64, n uint32, flags, next uint16) (readable int, err error) {
	readable = -1
	for hops := 0; ; hops++ {
		if hops > int(q.mask) {
			return 0, ErrLoop
		}
		if flags&descIndirect != 0 {
			// "A driver MUST NOT set both VIRTQ_DESC_F_INDIRECT and
			// VIRTQ_DESC_F_NEXT in flags" (2.7.5.3.1).
			if !q.indirect || flags&descNext != 0 {
				return 0, ErrIndirect
			}
			if readable, err = q.walkIndirect(b, addr, n, readable); err != nil {
				return 0, err
			}
			break
		}
		if readable, err = q.add(b, addr, n, flags, readable); err != nil {
			return 0, err
		}
		if flags&descNext == 0 {
			break
		}
		if next > q.mask {
			return 0, ErrNext
		}
		addr, n, flags, next = q.ring.loadDesc(next)
	}
	if readable < 0 {
		readable = len(b.segs)
	}
	return readable, nil
}

// walkIndirect walks the indirect table of n bytes at addr (2.7.5.3). The table
// is copied first: it may straddle regions, need not be aligned, and must not
// change while it is being read.
func (q *Queue) walkIndirect(b *Batch, addr uint64, n uint32, readable int) (int, error) {
	if n == 0 || n%descSize != 0 || n > MaxIndirect*descSize {
		return 0, ErrIndirect
	}
	had := len(b.segs)
	pieces, err := q.mem.appendRange(b.segs, addr, uint64(n))
	if err != nil {
		return 0, err
	}
	b.indirect = b.indirect[:0]
	for _, p := range pieces[had:] {
		b.indirect = append(b.indirect, p...)
	}
	b.segs = pieces[:had]

	count := n / descSize
	next := uint16(0)
	for range count {
		d := b.indirect[int(next)*descSize:][:descSize]
		flags := binary.LittleEndian.Uint16(d[12:])
		if flags&descIndirect != 0 {
			return 0, ErrIndirect
		}
		readable, err = q.add(b, binary.LittleEndian.Uint64(d), binary.LittleEndian.Uint32(d[8:]), flags, readable)
		if err != nil {
			return 0, err
		}
		if flags&descNext == 0 {
			return readable, nil
		}
		if next = binary.LittleEndian.Uint16(d[14:]); uint32(next) >= count {
			return 0, ErrNext
		}
	}
	return 0, ErrLoop
}

// add translates one descriptor and appends its pieces. readable is where the
// writable part begins, or -1 while it has not begun.
func (q *Queue) add(b *Batch, addr uint64, n uint32, flags uint16, readable int) (int, error) {
	if n == 0 {
		return 0, ErrZeroLen
	}
	if flags&descWrite != 0 {
		if readable < 0 {
			readable = len(b.segs)
		}
	} else if readable >= 0 {
		// "the device-readable elements come first" (2.7.4.2)
		return 0, ErrDirection
	}
	if off := addr - q.hot.GuestAddr; off < uint64(len(q.hot.Mem)) && uint64(n) <= uint64(len(q.hot.Mem))-off {
		b.segs = append(b.segs, q.hot.Mem[off:off+uint64(n):off+uint64(n)])
		return readable, nil
	}
	segs, err := q.mem.appendRange(b.segs, addr, uint64(n))
	if err != nil {
		return 0, err
	}
	b.segs = segs
	q.hot = *q.mem.find(addr)
	return readable, nil
}
