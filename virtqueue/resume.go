package virtqueue

import "fmt"

// This file finds the position in a ring at which a device died. It runs once, before the ring
// starts.
//
// For example, a device has died in a packed ring of 8 places. All descriptors are on the first
// lap, where an available descriptor has the avail flag (A) alone and a used one has both flags (A
// U). The device has published a batch of two chains (places 0 and 1), and was publishing a second
// one: the chain of two descriptors at place 2 and the chain at place 4. After these the driver has
// made two more chains available.
//
//	place    0     1     2     3     4     5     6     7
//	flags    A U   A U   A     A     A U   A     A     -
//	address  m0    m0    m2    m2    m2    addr  addr  -      m0, m2: marks, see usedMark
//	         |batch 0|   |---batch 2---|               ^
//	                     ^                 ^           end: the avail flag changes here
//	                     |                 place of the next descriptor, once batch 2 is finished
//	                     still available: the driver has not seen batch 2
//
// Resume searches backwards from the end for the last mark, which is in place 4 and says that its
// batch began at place 2. That place is still available, so the driver looks at no later one:
// Resume writes the used descriptors of the batch anew, place 4 first and place 2 last, each with
// length 0, and continues at place 5. If place 2 were used, the batch would be complete and Resume
// would write nothing.

// BeginUnused makes a new queue begin at PackedStart, whatever Config.Base says, if its ring is a
// packed ring that no device has used: the wrap counters of such a ring are 1 (virtio 1.2, section
// 2.8.1). Some front-ends (User Mode Linux) know no other base than 0, which is the first place
// with wrap counters of 0.
func (q *Queue) BeginUnused() error {
	if !q.isPacked {
		return nil
	}
	p := &q.packed
	err := guard(func() {
		if p.unused() {
			p.used = packedPosOf(PackedStart & 0xffff)
			p.next = p.used
		}
	})
	if err != nil {
		return fmt.Errorf("%w: checking whether the ring was ever used: %w", ErrSetup, err)
	}
	return nil
}

// Unused reports whether no device ever used the ring: the driver may have made chains available
// for the first time, and none has been returned as used.
func (q *Queue) Unused() (unused bool, err error) {
	err = guard(func() {
		if q.isPacked {
			unused = q.packed.unused()
		} else {
			unused = q.ring.unused()
		}
	})
	return unused, err
}

// unused reports whether neither side has gone around the ring yet and the device has used nothing:
// each place is either as the driver cleared it, or available with a wrap counter of 1. (A ring
// that is full of available descriptors on a later lap with that wrap counter is no exception: the
// next descriptor is in the first place, with a wrap counter of 1.) The walk ends at the first
// place that is neither.
func (p *packed) unused() bool {
	for i := range p.desc {
		d := loadPacked(&p.desc[i])
		if d != (packedDesc{}) && d.flags&descEither != descAvail {
			return false
		}
	}
	return true
}

// Resume makes a new queue continue where a previous device stopped, for whatever reason, according
// to the state of the ring itself. Config.Base is used only where the ring does not show the
// position. Resume is for devices that complete all chains in the order in which they were made
// available: everything before a certain position is used, and nothing after it.
//
// In a split ring the used index is that position. A packed ring does not store it, so our used
// descriptors carry a mark (usedMark), and the position is after the last mark. Front-ends do not
// know the position: after a crash, QEMU passes the place at which the ring began.
//
// Resume may write to the ring: to finish a batch that was being published, and to repair chains
// that the front-end used out of turn (see repair). So the log has to be set before Resume.
func (q *Queue) Resume() error {
	if !q.isPacked {
		q.lastAvail = q.usedIdx
		return nil
	}
	if err := guard(q.resumePacked); err != nil {
		return fmt.Errorf("%w: finding where the previous device stopped: %w", ErrSetup, err)
	}
	return nil
}

func (q *Queue) resumePacked() {
	p := &q.packed
	var s ringImage
	for range resumeTries(len(p.desc)) {
		s = p.image(s)
		// The driver may be adding chains at this very moment.
		if end, ok := s.end(); ok {
			at, edits := s.resume(end, p.used)
			p.next, p.used = at, at
			q.apply(edits)
			return
		}
	}
}

// resumeTries returns how many times Resume looks at a ring of the given size while the driver
// keeps adding chains. A driver that never stops adding chains has none that wait for a
// device. A driver that wants to keep Resume busy gains nothing by a larger ring, which is
// looked at fewer times.
func resumeTries(size int) int { return min(100, max(resumeSteps/size, 4)) }

// resumeSteps is the number of descriptors, in a ring of usual size, that Resume looks at before it
// gives up waiting for a moment at which the driver adds nothing.
const resumeSteps = 4 * MaxSize

// usedMark returns the address field of our used descriptors and of the other places of their
// chains: "In a used descriptor, Element Address is unused" (2.8.2), and drivers write the field
// anew each time. The mark is no address that guests have (it needs more than 52 bits), and
// contains the position at which the batch began that was published with it.
//
// All places of a batch are marked before its first used descriptor is written, and that descriptor
// is written last. So everything up to the last mark in the ring is used if the first descriptor of
// that batch is used; otherwise the device died while publishing the batch.
func usedMark(first packedPos) uint64 { return markMagic | uint64(first.base()) }

const markMagic = 0xb5c1_7a11_d0e5 << 16

// batchOf returns the first place of the batch in which a place was marked, if it is marked.
func (d *packedDesc) batchOf() (first packedPos, ok bool) {
	return packedPosOf(uint16(d.addr)), d.addr&^0xffff == markMagic
}

// isUsed reports whether a descriptor is used, on either lap. The place of a descriptor that is not
// used is available, or belongs to the rest of a used chain.
func (d *packedDesc) isUsed() bool {
	f := d.flags & descEither
	return f == 0 || f == descEither
}

// A ringImage is a private copy of a packed descriptor ring. The driver, or a device responding to
// the driver, wrote each place between one lap ago and now.
type ringImage []packedDesc

func (p *packed) image(s ringImage) ringImage {
	s = s[:0]
	for i := range p.desc {
		s = append(s, loadPacked(&p.desc[i]))
	}
	return s
}

func (s ringImage) at(pos packedPos) *packedDesc { return &s[pos.idx] }

// end returns the place after the last available descriptor. The avail flag of a descriptor says
// whether it was made available on this lap or the one before, and keeps saying so when the
// descriptor is used. If the flag changes at more than one place, the ring was being written to
// during the copy, and ok is false.
func (s ringImage) end() (end packedPos, ok bool) {
	first, n := s[0].flags&descAvail, 1
	for n < len(s) && s[n].flags&descAvail == first {
		n++
	}
	for i := n; i < len(s); i++ {
		if s[i].flags&descAvail == first {
			return packedPos{}, false
		}
	}
	if first != 0 {
		end.lap = descEither
	}
	return end.add(n, len(s)), true
}

// A ringTails holds, for each place of a ringImage, the part of a chain from that place to the
// chain's end. It is computed once, so that the number of steps to find chains is linear in the
// ring's size, whatever the driver has written to the ring.
type ringTails struct {
	ringImage
	tails []chainTail // indexed by place
}

// A chainTail is the number of places from one place to the next one without a next flag,
// inclusive, and the buffer ID there. 0 means that no such place comes before the end of the
// available descriptors, or that one of the places in between is used.
type chainTail struct {
	places int
	id     uint16
}

// tailsBefore computes the tails of the last waiting places (at most all) before end.
func (s ringImage) tailsBefore(end packedPos, waiting int) ringTails {
	r := ringTails{s, make([]chainTail, len(s))}
	var behind chainTail
	for at := end; waiting > 0; waiting-- {
		at = at.sub(1, len(s))
		d := s.at(at)
		switch {
		case d.isUsed():
			behind = chainTail{}
		case d.flags&descNext == 0:
			behind = chainTail{1, d.id}
		case behind.places > 0:
			behind.places++
		}
		r.tails[at.idx] = behind
	}
	return r
}

// An edit is a change to a descriptor in the ring, which leaves the address as it is.
type edit struct {
	at    int
	len   uint32
	id    uint16
	flags uint16
}

// resume returns the position at which to continue, given the end of the available descriptors and
// the base from the front-end, and the edits to apply to the ring before, in this order.
func (s ringImage) resume(end, base packedPos) (packedPos, []edit) {
	at, edits, ok := s.afterLastMark(end)
	if !ok {
		return base, nil
	}
	waiting := end.distance(at, len(s))
	if waiting == 0 {
		return at, edits
	}
	if s.at(at).isUsed() {
		// The front-end used this chain in its proper turn, so the front-end
		// knows the position.
		if ahead := base.distance(at, len(s)); ahead <= waiting {
			at = base
		}
		return at, edits
	}
	return at, append(edits, s.tailsBefore(end, waiting).repair(at, waiting)...)
}

// afterLastMark returns the place after the last mark, and the edits that finish the batch that the
// mark belongs to. ok is false if the ring does not show the position.
func (s ringImage) afterLastMark(end packedPos) (at packedPos, edits []edit, ok bool) {
	used := false
	for n := 1; n <= len(s); n++ {
		at := end.sub(n, len(s))
		first, marked := s.at(at).batchOf()
		if !marked {
			used = used || s.at(at).isUsed()
			continue
		}
		if first.idx >= len(s) {
			return packedPos{}, nil, false // not one of our marks
		}
		batch := at.distance(first, len(s)) + 1
		if batch > len(s)-n+1 || s.at(first).isUsed() {
			// The driver has already made the first place available again, or may do
			// so.
			return at.add(1, len(s)), nil, true
		}
		waiting := batch + n - 1
		return s.tailsBefore(end, waiting).finish(first, batch, waiting)
	}
	// No mark and nothing used: all places are waiting.
	return end.sub(len(s), len(s)), nil, !used
}

// finish marks as used the chains of a batch that was being published when the device died: those
// that begin in the given number of places from first on. The driver has seen none of them used.
// All of them get length 0, even those whose length is known: they may be parts of one frame.
func (s ringTails) finish(first packedPos, places, waiting int) (at packedPos, edits []edit, ok bool) {
	done := 0
	for done < places {
		n, id := s.chain(first.add(done, len(s.ringImage)), waiting-done)
		if n == 0 {
			return packedPos{}, nil, false
		}
		pos := first.add(done, len(s.ringImage))
		edits = append(edits, edit{at: pos.idx, id: id, flags: pos.lap})
		done += n
	}
	// The first used descriptor is written last: it makes the batch visible.
	edits = append(edits[1:], edits[0])
	return first.add(done, len(s.ringImage)), edits, true
}

// chain returns the number of places and the buffer ID of the chain that begins at a place. The
// chain may be used or not. most is the number of places up to the end of the available
// descriptors. 0 means that no valid chain begins there.
func (s ringTails) chain(at packedPos, most int) (n int, id uint16) {
	d := s.at(at)
	if !d.isUsed() {
		tail := s.tails[at.idx]
		return tail.places, tail.id
	}
	// A used descriptor has lost its next flag. If the chain had more descriptors, the others
	// follow, are still available, and end with the same buffer ID.
	if most > 1 {
		next := at.add(1, len(s.ringImage))
		if tail := s.tails[next.idx]; tail.places != 0 && tail.id == d.id && s.sameMarking(at, next) {
			return tail.places + 1, tail.id
		}
	}
	return 1, d.id
}

// sameMarking reports whether both places are marked or neither is. Only then can the available
// descriptors at next be the rest of the used chain at at.
func (s ringImage) sameMarking(at, next packedPos) bool {
	_, a := s.at(at).batchOf()
	_, b := s.at(next).batchOf()
	return a == b
}

// repair makes those of the waiting chains available again that are used although a chain before
// them is not. QEMU causes this: as long as it has no back-end it takes the frames that a guest
// transmits, and drops them, beginning at the place that it takes for the base. The driver
// cannot have seen these used descriptors: it looks at a place only when all places before it
// are used. The length of such a chain is lost, so the descriptor gets length 0, and the device
// is going to drop the frame.
func (s ringTails) repair(at packedPos, waiting int) (edits []edit) {
	for done := 0; done < waiting; {
		pos := at.add(done, len(s.ringImage))
		n, id := s.chain(pos, waiting-done)
		switch {
		case n == 0:
			// The front part of a chain whose later part is used: the place that QEMU
			// takes for the base need not be the beginning of a chain.
			n = 1
		case s.at(pos).isUsed():
			e := edit{at: pos.idx, id: id, flags: pos.avail()}
			if n > 1 {
				e.flags |= descNext
			}
			edits = append(edits, e)
		}
		done += n
	}
	return edits
}

// apply writes edits to the ring.
func (q *Queue) apply(edits []edit) {
	for _, e := range edits {
		storeFirst(&q.packed.desc[e.at], uint64(e.len)|uint64(e.id)<<32|uint64(e.flags)<<48)
		if q.logUsed {
			q.logUsedPacked(packedPos{idx: e.at}, 1)
		}
	}
}
