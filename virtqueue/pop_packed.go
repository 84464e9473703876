package virtqueue

import "slices"

// This file is the counterpart of pop_split.go for packed rings.

// availablePacked counts chains by walking them.
func (q *Queue) availablePacked() (n int, err error) {
	p := &q.packed
	pos, left := p.next, len(p.desc)-p.inUse
	for left > 0 {
		d := loadPacked(&p.desc[pos.idx])
		if d.flags&descEither != pos.avail() {
			break
		}
		n++
		for d.flags&descNext != 0 {
			pos = pos.add(1, len(p.desc))
			if left--; left == 0 {
				return 0, q.fail(ErrLoop)
			}
			d = loadPacked(&p.desc[pos.idx])
		}
		pos = pos.add(1, len(p.desc))
		left--
	}
	return n, nil
}

func (q *Queue) popPacked(b *Batch, limit int) (int, error) {
	p := &q.packed
	left := len(p.desc) - p.inUse // places that the driver may have filled
	limit = min(limit, left)
	if q.broken != nil || limit <= 0 {
		return 0, q.broken
	}
	if q.recording {
		q.raw = q.raw[:0]
	}
	pos, had := p.next, len(b.Chains)
	chains := slices.Grow(b.Chains, limit)[:had+limit]
	i, room := had, left
pop:
	for cost := 0; i < len(chains) && left > 0 && cost < maxPopCost; {
		n := min(len(p.desc)-pos.idx, len(chains)-i, left, maxPopCost-cost)
		k, d := q.popDirectPacked(chains[i:i+n], b.pieces(n), p.desc[pos.idx:], pos.avail())
		b.segs = b.segs[:len(b.segs)+k]
		i, left, cost, pos = i+k, left-k, cost+k, pos.add(k, len(p.desc))
		if k == n {
			continue
		}
		// Not a direct chain: the following ones are probably like it.
		for alike := true; alike; {
			if d.flags&descEither != pos.avail() {
				break pop
			}
			c := &chains[i]
			cost += q.walkPacked(b, c, d, pos.idx, left)
			if q.broken != nil {
				return 0, q.broken
			}
			i, left, pos = i+1, left-c.descs(), pos.add(c.descs(), len(p.desc))
			if i == len(chains) || left <= 0 || cost >= maxPopCost {
				break pop
			}
			if alike = d.flags&(descNext|descIndirect) != 0; alike {
				d = loadPacked(&p.desc[pos.idx])
			}
		}
	}
	b.Chains = chains[:i]
	taken := room - left
	p.next = p.next.add(taken, len(p.desc))
	p.inUse += taken
	return i - had, nil
}

// popDirectPacked is the counterpart of popDirect for packed rings: it fills chains from the
// descriptors in ring whose availability flags equal avail, and returns the first descriptor that
// is not available or not a direct chain.
func (q *Queue) popDirectPacked(chains []Chain, pieces [][]byte, ring [][2]uint64, avail uint16) (n int, d packedDesc) {
	hot, hotAddr := q.hot.Mem, q.hot.GuestAddr
	if q.recording {
		hot = nil // send every chain through walkPacked, which records descriptors
	}
	ring, pieces = ring[:len(chains)], pieces[:len(chains)]
	for i := range chains {
		d = loadPacked(&ring[i])
		off, size := d.addr-hotAddr, uint64(len(hot))
		if d.flags&(descEither|descNext|descIndirect) != avail || off >= size || uint64(d.len) > size-off || d.len == 0 {
			return i, d
		}
		pieces[i] = slice(hot, off, d.len)
		chains[i].direct(chainName(d.id, 1), pieces[i:i+1:i+1], d.flags)
	}
	return len(chains), packedDesc{}
}

// unpopPacked undoes the popping of the given chains, the last that were popped.
func (q *Queue) unpopPacked(chains []Chain) {
	p, n := &q.packed, 0
	for i := range chains {
		n += chains[i].descs()
	}
	p.next = p.next.sub(n, len(p.desc))
	p.inUse -= n
}

// walkPacked fills c with the chain whose first descriptor, d, is at idx, and returns the cost. A
// chain of more than left descriptors breaks the queue.
//
// All descriptors are first loaded into a private table, even those of invalid chains: the last one
// has the chain's buffer ID.
func (q *Queue) walkPacked(b *Batch, c *Chain, d packedDesc, idx, left int) (cost int) {
	desc := q.packed.desc
	table := append(b.table[:0], d.link(0))
	q.record(d)
	for d.flags&descNext != 0 {
		if len(table) == left {
			// "A driver MUST NOT create a descriptor list longer than the Queue Size"
			// (2.8.17), nor one that runs into descriptors in use.
			_ = q.fail(ErrLoop)
			return 0
		}
		if idx++; idx == len(desc) {
			idx = 0
		}
		d = loadPacked(&desc[idx])
		table = append(table, d.link(len(table)))
		q.record(d)
	}
	b.table = table
	c.name = chainName(d.id, len(table))
	return len(table) + q.walk(b, c, table, loadDesc(&table[0]))
}

func (q *Queue) record(d packedDesc) {
	if q.recording {
		q.raw = append(q.raw, d)
	}
}

// link returns the i-th descriptor of a chain in the format of a split ring's table, in which the
// next descriptor is i+1.
func (d packedDesc) link(i int) [2]uint64 {
	flags := d.flags & (descNext | descWrite | descIndirect)
	if i != 0 && flags&descIndirect != 0 {
		// "A driver MUST NOT write direct descriptors with DESC_F_INDIRECT set in a
		// scatter-gather list linked by VIRTQ_DESC_F_NEXT" (2.8.19). In a split ring only
		// the combination of the two flags is forbidden.
		flags |= descNext
	}
	return [2]uint64{d.addr, uint64(d.len) | uint64(flags)<<32 | uint64(i+1)<<48}
}

// sequence converts a packed ring's indirect table to the format of a split ring's: all its
// descriptors are used, in order. "The VIRTQ_DESC_F_WRITE flags bit is the only valid flag for
// descriptors in the indirect table. Others are reserved and are ignored by the device. Buffer ID
// is also reserved and is ignored by the device" (2.8.7).
func (q *Queue) sequence(table [][2]uint64) {
	valid := uint16(descWrite)
	if q.driverSends {
		valid = 0
	}
	for i := range table {
		flags := uint16(table[i][1]>>48)&valid | descNext
		if i == len(table)-1 {
			flags &^= descNext
		}
		table[i] = packedDesc{table[i][0], uint32(table[i][1]), 0, flags}.link(i)
	}
}
