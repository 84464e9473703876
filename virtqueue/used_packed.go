package virtqueue

// This file holds the parts of used.go that are specific to packed rings.

// used returns length, id and flags of the used descriptor on the given lap, in their format in
// memory. The write flag says that the length is valid (2.8.3).
func (c *completion) used(lap uint16) uint64 {
	flags := lap
	if c.n != 0 {
		flags |= descWrite
	}
	return uint64(c.n) | uint64(uint16(c.name))<<32 | uint64(flags)<<48
}

// publishPacked writes used descriptors. The driver looks at no other descriptor before it has
// found the first one used. So the first one is written last and makes all of them visible at once,
// so that the driver sees no request in part (2.8.9).
//
// All places of a batch are marked before its first descriptor is written; see usedMark.
func (q *Queue) publishPacked(done []completion) {
	p := &q.packed
	first, mark := p.used, usedMark(p.used)
	moved := done[0].descs()
	at := first.add(moved, len(p.desc))
	for i := 1; i < len(done); i++ {
		c := &done[i]
		n := c.descs()
		if n > 1 {
			p.markRest(at, n, mark)
		}
		p.desc[at.idx] = [2]uint64{mark, c.used(at.lap)}
		moved += n
		at = at.add(n, len(p.desc))
	}
	p.markRest(first, done[0].descs(), mark)
	p.used, p.moved = at, moved
	p.inUse -= moved
	p.desc[first.idx][0] = mark
	storeFirst(&p.desc[first.idx], done[0].used(first.lap)) // a full fence
	if q.logUsed {
		q.logUsedPacked(first, moved)
	}
}

// markRest marks all places of a chain of n descriptors except the first one.
func (p *packed) markRest(at packedPos, n int, mark uint64) {
	for range n - 1 {
		at = at.add(1, len(p.desc))
		p.desc[at.idx][0] = mark
	}
}

// wantsSignalPacked reports whether the driver asked to be signalled for the used descriptors of
// the last batch (2.8.10).
func (q *Queue) wantsSignalPacked() bool {
	p := &q.packed
	event := p.loadDriverEvent()
	switch event & eventFlags {
	case eventDisable:
		return false
	case eventDesc:
		if q.eventIdx { // "Only valid if VIRTIO_F_RING_EVENT_IDX has been negotiated."
			was := p.used.sub(p.moved, len(p.desc))
			return packedPosOf(uint16(event)).distance(was, len(p.desc)) < p.moved
		}
	}
	return true
}

func (q *Queue) armPacked() (pending bool) {
	p := &q.packed
	p.event = eventEnable
	if q.eventIdx {
		p.event = eventDesc | uint32(p.next.base())
	}
	p.storeDeviceEvent(p.event) // a full fence between asking for a kick and looking again
	if q.logUsed {
		q.logEventPacked()
	}
	return p.inUse < len(p.desc) && loadPacked(&p.desc[p.next.idx]).flags&descEither == p.next.avail()
}

func (q *Queue) disarmPacked() {
	p := &q.packed
	if p.event == eventDisable {
		return
	}
	p.event = eventDisable
	p.storeDeviceEvent(p.event)
	if q.logUsed {
		q.logEventPacked()
	}
}
