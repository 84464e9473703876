package virtqueue

// This file marks in a dirty log the memory that a queue writes to. Without a log none of it runs,
// and no state is kept for it: the guest-physical address of a piece is looked up in the memory
// table from the piece itself.

// SetLog makes the queue mark its writes in l from now on: the payload of chains that are
// completed, and, if logUsed, its own used ring, at guest-physical address usedAddr ("log guest
// address" of SET_VRING_ADDR). With a nil log it marks nothing.
//
// In a packed ring usedAddr is the address of the device event suppression structure; the
// descriptor ring, which is also written to, is located with the memory table.
//
// The queue must not be in use by another goroutine. Chains that were popped before must not be
// completed after.
func (q *Queue) SetLog(l *DirtyLog, usedAddr uint64, logUsed bool) {
	q.log, q.logging, q.logUsed = l, l != nil, l != nil && logUsed
	q.usedAddr = usedAddr
	q.logHot = Region{}
}

// logPayload marks the first n bytes of c's writable pieces.
func (q *Queue) logPayload(c *Chain, n uint32) {
	left := uint64(n)
	for _, s := range c.Writable {
		if left == 0 {
			return
		}
		k := min(left, uint64(len(s)))
		if k != 0 {
			q.logPiece(s, k)
		}
		left -= k
	}
}

func (q *Queue) logPiece(s []byte, n uint64) {
	off, ok := q.logHot.offset(s)
	if !ok {
		var r *Region
		if r, off, ok = q.mem.regionOf(s); !ok {
			return
		}
		q.logHot = *r
	}
	q.log.Mark(q.logHot.GuestAddr+off, n)
}

// logUsedSplit marks count used entries from index was on, and the used index.
func (q *Queue) logUsedSplit(was uint16, count int) {
	const first, each = 4, 8
	size := uint64(q.mask) + 1
	from, n := uint64(was&q.mask), min(uint64(count), size)
	straight := min(n, size-from)
	q.log.Mark(q.usedAddr+first+each*from, each*straight)
	q.log.Mark(q.usedAddr+first, each*(n-straight))
	q.log.Mark(q.usedAddr, first)
}

// logEventSplit marks the used ring's flags and, with EVENT_IDX, avail_event behind its entries.
func (q *Queue) logEventSplit() {
	q.log.Mark(q.usedAddr, 4)
	if q.eventIdx {
		q.log.Mark(q.usedAddr+4+8*(uint64(q.mask)+1), 2)
	}
}

// logUsedPacked marks n places of the descriptor ring from first on.
func (q *Queue) logUsedPacked(first packedPos, n int) {
	ring, ok := q.mem.guestAddr(q.cfg.Desc)
	if !ok {
		return
	}
	straight := min(n, len(q.packed.desc)-first.idx)
	q.log.Mark(ring+descSize*uint64(first.idx), descSize*uint64(straight))
	q.log.Mark(ring, descSize*uint64(n-straight))
}

func (q *Queue) logEventPacked() { q.log.Mark(q.usedAddr, eventSize) }
