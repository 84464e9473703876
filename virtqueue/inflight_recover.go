package virtqueue

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
)

// This file reads the record of a packed ring ("When reconnecting"). It also reads records of other
// back-ends. They may have ordered their steps differently, so the list of free entries is not
// trusted but rebuilt from the entries that are not in flight.
//
// For example, a device has popped two chains from a packed ring of 4 places: X with two
// descriptors (places 0 and 1, id 7), then Y with one (place 2, id 3). The device has completed Y
// first and has died while it was publishing Y. The used descriptor of Y belongs in place 0, where
// it overwrites a descriptor of X, so that only the record still has all of X.
//
//	record   free_head 2, old_free_head 3    Y's entry is on the free list already
//	         used_idx 1, old_used_idx 0      the next descriptor is used at place 1, or at 0
//
//	entry    0           1           2           3
//	chain    X           X           Y           free
//	inflight 1           0           1           0
//	next     1           2           3           0
//	last,num 1, 2        0, 0        2, 1        0, 0
//	counter  0           -           1           -
//	desc     X's first   X's second  Y's only    -
//
// Place 0 of the ring decides between used_idx and old_used_idx:
//
//	available: the driver has not seen Y. The batch is undone: X and Y are popped again, in the
//	           order of their counters, and the next descriptor is used at place 0.
//	used:      the driver may have seen Y. The batch is finished: entry 2, which free_head
//	           names, is no longer in flight, X is popped again, and the next descriptor is
//	           used at place 1.
//
// In both cases the next new chain is popped at place 3.

func (q *Queue) recoverPacked(words []uint64) (inflight, []uint16, error) {
	t := newInflightPacked(words, q.cfg.Size)
	head := words[1]
	if err := checkInflight(words[0], head, t.size); err != nil {
		return nil, nil, err
	}
	if uint16(head) == 0 {
		t.list(make([]bool, t.size))
		t.commit(q.packed.used)
		return t, nil, nil
	}
	r := packedRecord{t, slices.Clone(t.words[4:])}
	used, err := r.lastBatch(q, uint16(head>>32), words[2])
	if err != nil {
		return nil, nil, err
	}
	again, err := r.chains()
	if err != nil {
		return nil, nil, err
	}
	p := &q.packed
	p.inUse = 0
	for _, e := range again {
		p.inUse += t.descs(e)
	}
	p.used, p.next = used, used.add(p.inUse, t.size)
	return t, again, nil
}

// list builds the list of free entries.
func (t *inflightPacked) list(taken []bool) {
	t.free = 0
	for i := t.size - 1; i >= 0; i-- {
		if !taken[i] {
			t.next[i], t.last[i], t.num[i] = t.free, 0, 0
			*t.word(uint16(i)) = t.entry(uint16(i), 0)
			t.free = uint16(i)
		}
	}
}

// A packedRecord is a record with a private copy of its entries as they were found.
type packedRecord struct {
	*inflightPacked
	entries []uint64
}

// lastBatch determines how far the previous device came with its last batch, finishes or undoes the
// batch, and returns the place of the next descriptor to mark used.
func (r packedRecord) lastBatch(q *Queue, free uint16, place uint64) (packedPos, error) {
	pos := func(idx uint64, wrap uint64) packedPos {
		return packedPosOf(uint16(idx)&^(1<<15) | uint16(wrap)<<15)
	}
	used, old := pos(place, place>>32), pos(place>>16, place>>40)
	if used.idx >= r.size || old.idx >= r.size {
		return used, fmt.Errorf("%w: descriptors %d and %d of %d are used next", ErrInflight, used.idx, old.idx, r.size)
	}
	if used != old && loadPacked(&q.packed.desc[old.idx]).flags&descEither == old.avail() {
		used = old // the driver has not seen the batch
	}
	left := used.distance(old, r.size)
	if left > r.size {
		return used, fmt.Errorf("%w: a batch of %d descriptors", ErrInflight, left)
	}
	for e := free; left > 0; {
		last, n := r.links(e)
		if n == 0 || n > left {
			return used, fmt.Errorf("%w: entry %d is not in the last batch", ErrInflight, e)
		}
		r.clear(e)
		left -= n
		e = uint16(r.entries[4*int(last)] >> 16)
	}
	r.free, r.oldFree, r.oldUsed = free, free, old
	r.inflightPacked.commit(used)
	return used, nil
}

// links returns the last entry of the chain that begins at entry e, and the number of its entries;
// 0 if no valid chain begins there.
func (r packedRecord) links(e uint16) (last uint16, n int) {
	if int(e) >= r.size {
		return 0, 0
	}
	w := r.entries[4*int(e)]
	if last, n = uint16(w>>32), int(w>>48); int(last) >= r.size {
		return 0, 0
	}
	return last, n
}

// clear marks the chain that begins at entry e as not in flight.
func (r packedRecord) clear(e uint16) {
	r.entries[4*int(e)] &^= 0xff
	*r.word(e) = r.entries[4*int(e)]
}

// chains returns the first entries of the chains in flight, in the order in which they were popped.
func (r packedRecord) chains() (again []uint16, err error) {
	taken, lengths := make([]bool, r.size), r.lengths()
	for i := range r.size {
		if e := uint16(i); r.entries[4*i]&0xff != 0 {
			// The links have to end after the number of entries that the
			// first one contains.
			if _, n := r.links(e); n == 0 || n != lengths[i] {
				continue // the previous device died while recording the chain
			}
			if err := r.take(e, taken); err != nil {
				return nil, err
			}
			again = append(again, e)
		}
	}
	counter := func(e uint16) uint64 { return r.entries[4*int(e)+1] }
	slices.SortStableFunc(again, func(a, b uint16) int { return cmp.Compare(counter(a), counter(b)) })
	if n := len(again); n > 0 {
		r.counter = counter(again[n-1]) + 1
	}
	r.list(taken)
	r.oldFree = r.free
	atomic.StoreUint64(&r.words[1], r.lists())
	return again, nil
}

// lengths returns for each entry how many entries there are up to the first one without a next
// flag, or endless if the links leave the record or form a loop. Each link is followed once, so
// that the number of steps is linear in the record's size whatever the record contains.
func (r packedRecord) lengths() []int {
	lengths := make([]int, r.size)
	path := make([]uint16, 0, r.size)
	for i := range r.size {
		e, n := uint16(i), 0
		for path = path[:0]; ; {
			if int(e) >= r.size {
				n = endless
				break
			}
			if n = lengths[e]; n != 0 {
				break // known; entries on the path are marked endless, which ends loops
			}
			lengths[e] = endless
			path = append(path, e)
			if r.entries[4*int(e)+2]>>16&descNext == 0 {
				break
			}
			e = uint16(r.entries[4*int(e)] >> 16)
		}
		for _, e := range slices.Backward(path) {
			if n != endless {
				n++
			}
			lengths[e] = n
		}
	}
	return lengths
}

// endless is the length of a chain that does not end.
const endless = -1

// take makes private copies of the links and fields of the chain that begins at entry head.
func (r packedRecord) take(head uint16, taken []bool) error {
	_, n := r.links(head)
	e := head
	for left := n; ; left-- {
		if taken[e] {
			return fmt.Errorf("%w: entry %d is in two chains", ErrInflight, e)
		}
		taken[e] = true
		if left == 1 {
			break
		}
		r.next[e] = uint16(r.entries[4*int(e)] >> 16)
		e = r.next[e]
	}
	id := uint16(r.entries[4*int(e)+2])
	if r.first[id] != 0 {
		return fmt.Errorf("%w: two chains with id %d", ErrInflight, id)
	}
	r.last[head], r.num[head], r.id[head] = e, uint16(n), id
	r.first[id] = head + 1
	return nil
}
