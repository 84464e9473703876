package virtqueue

import "slices"

// This file is the hot path on the way in, from available descriptors to slices,
// for split rings.
//
// It allocates only to grow a Batch. The loop over heads comes first and touches
// nothing but rings and descriptors, so that the cache misses of a whole batch
// overlap; buffers are touched by whoever uses the chains.

func (q *Queue) availableSplit() (int, error) {
	n := int(q.ring.loadAvailIdx() - q.lastAvail)
	if n > int(q.mask)+1 {
		return 0, q.fail(ErrAvailIndex)
	}
	return n, nil
}

// popSplit is Pop.
func (q *Queue) popSplit(b *Batch, limit int) (int, error) {
	if q.broken != nil {
		return 0, q.broken
	}
	n, err := q.availableSplit()
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
		c.name = uint32(head)
		d := loadDesc(&q.ring.desc[head])
		off, size := d.addr-hotAddr, uint64(len(hot))
		if d.flags&(descNext|descIndirect) != 0 || off >= size || uint64(d.len) > size-off || d.len == 0 {
			b.segs = segs
			cost += q.walk(b, c, q.ring.desc, d)
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
