package virtqueue

import "fmt"

// This file finds out where a device that died has left a ring. It runs once, before a
// ring starts.
//
// For example, a device has died in a packed ring of 8 places. All of it happens on the first lap,
// where an available descriptor has the avail flag (A) alone and a used one has both (A U). The
// device has published a batch of two chains (places 0 and 1), and was publishing a second one: the
// chain of two descriptors at place 2 and the chain at place 4. Behind these the driver has made
// two more chains available.
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
// batch began at place 2. That place is still available, so that the driver looks at no later one:
// Resume writes the used descriptors of the batch anew, place 4 first and place 2 last, each with
// length 0, and goes on at place 5. If place 2 were used, the batch would be complete and Resume
// would write nothing.

// BeginUnused makes a queue that was just made begin at PackedStart if its ring is a packed one
// that nobody has used, whatever Config.Base says: of such a ring the wrap counters are 1 (virtio
// 1.2, section 2.8.1). There are front-ends that know of no other base than 0, which is
// the first place with wrap counters of 0 (User Mode Linux).
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
		return fmt.Errorf("%w: looking whether the ring was ever used: %w", ErrSetup, err)
	}
	return nil
}

// Unused reports whether the ring was never used by a device: the driver may have made chains
// available for the first time, and none has come back.
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

// unused reports whether neither side has gone around the ring yet, and the device has used
// nothing: each place is as the driver cleared it, or available with a wrap counter of 1. (A ring
// that is full of those on a later lap is no exception: what comes next is its first place, with a
// wrap counter of 1.) The walk ends at the first place that is neither.
func (p *packed) unused() bool {
	for i := range p.desc {
		d := loadPacked(&p.desc[i])
		if d != (packedDesc{}) && d.flags&descEither != descAvail {
			return false
		}
	}
	return true
}

// Resume makes a queue that was just made go on where a device before it stopped, however
// that came to its end, from what the ring itself says. Of Config.Base it makes use only
// where the ring says nothing. It is for devices that complete all chains in the order
// in which they were available: what was used is done, and nothing behind it.
//
// In a split ring the used index says it all. In a packed ring nothing does, so our used
// descriptors have a mark (usedMark), and the last of these is where we were. Front-ends
// do not know: after a crash, QEMU names the place where the ring began.
//
// It may write to the ring: to finish a batch that was being published, and to repair
// what a front-end has done to chains out of their turn (see repair). So the log has to
// have been set before.
func (q *Queue) Resume() error {
	if !q.isPacked {
		q.lastAvail = q.usedIdx
		return nil
	}
	if err := guard(q.resumePacked); err != nil {
		return fmt.Errorf("%w: looking for where the ring was left: %w", ErrSetup, err)
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

// resumeTries returns how many times a ring of so many places is looked at that a driver is
// just adding something to. A driver that is always at it has no chains that wait. One that
// only wants to keep us here does not gain by a larger ring: that is looked at less often.
func resumeTries(size int) int { return min(100, max(resumeSteps/size, 4)) }

// resumeSteps is how many descriptors are looked at, in a ring of usual size, before Resume
// gives up waiting for a moment at which the driver adds nothing.
const resumeSteps = 4 * MaxSize

// usedMark returns what used descriptors have in the place of the address, and so have
// the other places of their chains: "In a used descriptor, Element Address is unused"
// (2.8.2), and drivers write it anew each time. It is no address that guests have (of
// more than 52 bits), and says where the batch began that was published with it.
//
// All places of a batch are marked before the first used descriptor of it is
// written, and that is written last. So up to the last mark in the ring everything is used
// if the first descriptor of that batch is; else we died in between.
func usedMark(first packedPos) uint64 { return markMagic | uint64(first.base()) }

const markMagic = 0xb5c1_7a11_d0e5 << 16

// batchOf returns which batch a place was used in, if it is marked.
func (d *packedDesc) batchOf() (first packedPos, ok bool) {
	return packedPosOf(uint16(d.addr)), d.addr&^0xffff == markMagic
}

// isUsed reports whether a descriptor is used, on some lap. The place of one that is not
// is available, or the rest of a chain that is used.
func (d *packedDesc) isUsed() bool {
	f := d.flags & descEither
	return f == 0 || f == descEither
}

// A ringImage is a private copy of a packed descriptor ring. All of it was written by the
// driver, or by a device in answer to it, between one lap ago and now.
type ringImage []packedDesc

func (p *packed) image(s ringImage) ringImage {
	s = s[:0]
	for i := range p.desc {
		s = append(s, loadPacked(&p.desc[i]))
	}
	return s
}

func (s ringImage) at(pos packedPos) *packedDesc { return &s[pos.idx] }

// end returns the place behind the last available descriptor. Whether one was written on
// this lap or the one before, its avail flag says, and still does when it is used. A ring
// where that changes at more than one place was being written to meanwhile.
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

// A ringRests is what a ringImage says of the rest of a chain from each place on. It is worked
// out once, so that looking for chains takes a number of steps that is linear in the ring's
// size, whatever the driver has written there.
type ringRests struct {
	ringImage
	rests []chainRest // by the place's index
}

// A chainRest is how many places there are from one on up to one without a next flag, and
// the id there. 0: there is none before the end of what is available, or a used one is
// among them.
type chainRest struct {
	places int
	id     uint16
}

// restsBefore looks at the places before end, as many as are waiting (at most all).
func (s ringImage) restsBefore(end packedPos, waiting int) ringRests {
	r := ringRests{s, make([]chainRest, len(s))}
	var behind chainRest
	for at := end; waiting > 0; waiting-- {
		at = at.sub(1, len(s))
		d := s.at(at)
		switch {
		case d.isUsed():
			behind = chainRest{}
		case d.flags&descNext == 0:
			behind = chainRest{1, d.id}
		case behind.places > 0:
			behind.places++
		}
		r.rests[at.idx] = behind
	}
	return r
}

// An edit is a descriptor to write without its address.
type edit struct {
	at    int
	len   uint32
	id    uint16
	flags uint16
}

// resume returns where to go on, given the end of what is available and the base that the
// front-end says, and what to write to the ring before, in this order.
func (s ringImage) resume(end, base packedPos) (packedPos, []edit) {
	at, edits, ok := s.left(end)
	if !ok {
		return base, nil
	}
	waiting := end.distance(at, len(s))
	if waiting == 0 {
		return at, edits
	}
	if s.at(at).isUsed() {
		// By the front-end, in its turn: that one knows how far it is.
		if ahead := base.distance(at, len(s)); ahead <= waiting {
			at = base
		}
		return at, edits
	}
	return at, append(edits, s.restsBefore(end, waiting).repair(at, waiting)...)
}

// left returns the place behind the last mark.
func (s ringImage) left(end packedPos) (at packedPos, edits []edit, ok bool) {
	used := false
	for n := 1; n <= len(s); n++ {
		at := end.sub(n, len(s))
		first, marked := s.at(at).batchOf()
		if !marked {
			used = used || s.at(at).isUsed()
			continue
		}
		if first.idx >= len(s) {
			return packedPos{}, nil, false // not our mark
		}
		batch := at.distance(first, len(s)) + 1
		if batch > len(s)-n+1 || s.at(first).isUsed() {
			// The driver has used the first place again already, or is going to.
			return at.add(1, len(s)), nil, true
		}
		waiting := batch + n - 1
		return s.restsBefore(end, waiting).finish(first, batch, waiting)
	}
	// With no mark and nothing used, all of it is waiting.
	return end.sub(len(s), len(s)), nil, !used
}

// finish uses the chains of a batch that was being published when the device died: those
// that begin in the first so many places, none of which the driver has seen used. Not even those
// that we do know a length of keep it: they may be the rest of a frame.
func (s ringRests) finish(first packedPos, places, waiting int) (at packedPos, edits []edit, ok bool) {
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
	// The first one last.
	edits = append(edits[1:], edits[0])
	return first.add(done, len(s.ringImage)), edits, true
}

// chain returns how many places the chain at a place has, used or not, and its id. most is how
// many there are up to the end of what is available. 0: the chain makes no sense.
func (s ringRests) chain(at packedPos, most int) (n int, id uint16) {
	d := s.at(at)
	if !d.isUsed() {
		rest := s.rests[at.idx]
		return rest.places, rest.id
	}
	// Its next flag is gone. If it was longer, the rest is in the places behind
	// it, is available, and ends with the same id.
	if most > 1 {
		next := at.add(1, len(s.ringImage))
		if rest := s.rests[next.idx]; rest.places != 0 && rest.id == d.id && s.goesWith(at, next) {
			return rest.places + 1, rest.id
		}
	}
	return 1, d.id
}

// goesWith reports whether what is available at next may be the rest of the chain that is
// used at: not if one of the two is marked and the other is not.
func (s ringImage) goesWith(at, next packedPos) bool {
	_, a := s.at(at).batchOf()
	_, b := s.at(next).batchOf()
	return a == b
}

// repair makes chains available again that are used although chains before them are not, in
// so many places. It is QEMU that does that: as long as it has no back-end it takes what
// a guest transmits, and drops it, from the place that it believes in. The driver cannot
// have seen that: it looks at these places only when all before them are used. What was
// in such a chain is not known any more, so it is one without a length, which we are
// going to drop.
func (s ringRests) repair(at packedPos, waiting int) (edits []edit) {
	for done := 0; done < waiting; {
		pos := at.add(done, len(s.ringImage))
		n, id := s.chain(pos, waiting-done)
		switch {
		case n == 0:
			// A chain that goes on to where one is used, of which it is the
			// first part: the place that QEMU believes in need not be where
			// a chain begins.
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
