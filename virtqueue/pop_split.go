package virtqueue

import "slices"

// This file is the receiving half of the hot path for split rings: from available
// descriptors to slices.
//
// The code allocates only to grow a Batch. The loops over heads come first and touch only rings and
// descriptors, so that the cache misses of a whole batch overlap; buffers are first touched by the
// user of the chains.

func (q *Queue) availableSplit() (int, error) {
	n := int(q.ring.loadAvailIdx() - q.lastAvail)
	if n > int(q.mask)+1 {
		return 0, q.fail(ErrAvailIndex)
	}
	return n, nil
}

func (q *Queue) popSplit(b *Batch, limit int) (int, error) {
	if q.broken != nil {
		return 0, q.broken
	}
	n, err := q.availableSplit()
	if n = min(n, limit); n <= 0 || err != nil {
		return 0, err
	}
	had, idx := len(b.Chains), q.lastAvail
	chains := slices.Grow(b.Chains, n)[:had+n]
	i := had
	for cost := 0; i < len(chains) && cost < maxPopCost; {
		heads := q.ring.avail[idx&q.mask:]
		room := min(len(heads), len(chains)-i, maxPopCost-cost)
		k, head, d := q.popDirect(chains[i:i+room], b.pieces(room), heads)
		b.segs = b.segs[:len(b.segs)+k]
		i, idx, cost = i+k, idx+uint16(k), cost+k
		if k == room {
			continue
		}
		// Not a direct chain: the following ones are probably like it.
		for alike := true; alike; {
			if head > q.mask {
				return 0, q.fail(ErrHead)
			}
			c := &chains[i]
			c.name = uint32(head)
			alike = d.flags&(descNext|descIndirect) != 0
			cost += q.walk(b, c, q.ring.desc, d)
			i, idx = i+1, idx+1
			if i == len(chains) || cost >= maxPopCost {
				break
			}
			if alike {
				head = q.ring.avail[idx&q.mask]
				d = loadDesc(&q.ring.desc[head&q.mask])
			}
		}
	}
	b.Chains = chains[:i]
	q.lastAvail = idx
	return i - had, nil
}

// popDirect fills chains, in order, with the chains that heads names, as long as each is one
// descriptor in the region that the last one was in: nearly all chains of drivers that put header
// and data into one buffer. It returns their number, and what was loaded of the first chain of
// another kind: its head, which may be out of range, and its first descriptor. Each chain's piece
// is stored in pieces.
//
// The function calls nothing and has few variables, so that most of them stay in registers. That
// makes it twice as fast as the same code inside popSplit.
func (q *Queue) popDirect(chains []Chain, pieces [][]byte, heads []uint16) (n int, head uint16, d desc) {
	table, hot, hotAddr := q.ring.desc, q.hot.Mem, q.hot.GuestAddr
	heads, pieces = heads[:len(chains)], pieces[:len(chains)]
	for i := range chains {
		head = heads[i]
		if int(head) >= len(table) {
			return i, head, desc{}
		}
		d = loadDesc(&table[head])
		off, size := d.addr-hotAddr, uint64(len(hot))
		if d.flags&(descNext|descIndirect) != 0 || off >= size || uint64(d.len) > size-off || d.len == 0 {
			return i, head, d
		}
		pieces[i] = slice(hot, off, d.len)
		chains[i].direct(uint32(head), pieces[i:i+1:i+1], d.flags)
	}
	return len(chains), 0, desc{}
}
