package virtqueue

import "sync/atomic"

// This file is for people who want to see how a queue stands. Nothing here changes
// anything, in the queue or in guest memory, and nothing that is read from guest memory
// is used for more than to be shown.

// When says when one side of a queue wants to be notified by the other.
type When int

// Values of When.
const (
	Always  When = iota
	Never        // it is polling, or has no use for it
	AtEvent      // when a certain place in the ring has been passed (VIRTIO_F_EVENT_IDX)
)

// A Notify says when, and for AtEvent where. Of a split ring Event is an index as in
// the available and used rings (virtio 1.2, sections 2.7.7 and 2.7.10), of a packed ring
// a place with the wrap counter in bit 15 (2.8.10).
type Notify struct {
	When  When
	Event uint16
}

// An Inspection is what guest memory says of a queue at one moment.
type Inspection struct {
	AvailIdx uint16 // of a split ring: the available index that the driver has published
	Waiting  int    // chains that are available and were not taken; more than the size: the driver breaks the rules
	Signals  Notify // when the driver wants to be signalled
	Kicks    Notify // when we have asked to be kicked
}

// Inspect looks at a queue's memory. ok is false for a queue whose rings are not in its
// memory table. Of a packed ring it reads the descriptors that are available.
func (q *Queue) Inspect() (i Inspection, ok bool) {
	switch {
	case q.absent:
		return Inspection{}, false
	case q.isPacked:
		return q.inspectPacked(), true
	}
	return q.inspectSplit(), true
}

// InFlight returns how many chains of a split ring, or descriptors of a packed one, were
// taken and are not used yet, be it that one before us took them.
func (q *Queue) InFlight() int {
	if q.isPacked {
		return q.packed.inUse
	}
	return int(q.lastAvail - q.usedIdx)
}

// Tracked tells whether there is a record of what is in flight.
func (q *Queue) Tracked() bool { return q.inflight != nil }

func (q *Queue) inspectSplit() Inspection {
	r := &q.ring
	i := Inspection{AvailIdx: r.loadAvailIdx()}
	i.Waiting = int(i.AvailIdx - q.LastAvail())
	if q.eventIdx {
		i.Signals = Notify{AtEvent, *r.usedEvent}
		i.Kicks = Notify{AtEvent, *r.availEvent}
		return i
	}
	if r.loadAvailFlags()&availNoInterrupt != 0 {
		i.Signals.When = Never
	}
	if atomic.LoadUint32(r.usedHead)&usedNoNotify != 0 {
		i.Kicks.When = Never
	}
	return i
}

func (q *Queue) inspectPacked() Inspection {
	r := &q.packed.packedRing
	return Inspection{
		Waiting: q.waitingPacked() + len(q.resubmit),
		Signals: q.notifyPacked(r.loadDriverEvent()),
		Kicks:   q.notifyPacked(atomic.LoadUint32(r.deviceEvent)),
	}
}

// notifyPacked decodes an event suppression structure. What the specification reserves
// means the same as no suppression.
func (q *Queue) notifyPacked(event uint32) Notify {
	switch event & eventFlags {
	case eventDisable:
		return Notify{When: Never}
	case eventDesc:
		if q.eventIdx {
			return Notify{AtEvent, uint16(event)}
		}
	}
	return Notify{}
}

// waitingPacked counts the chains in the places that may be the driver's.
func (q *Queue) waitingPacked() (n int) {
	p := &q.packed
	pos, head := p.next, true
	for range len(p.desc) - p.inUse {
		flags := loadPacked(&p.desc[pos.idx]).flags
		if head && flags&descEither != pos.avail() {
			return n
		}
		if head = flags&descNext == 0; head {
			n++
		}
		pos = pos.add(1, len(p.desc))
	}
	return n
}
