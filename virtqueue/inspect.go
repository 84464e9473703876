package virtqueue

import "sync/atomic"

// This file shows the state of a queue to people. Nothing here changes the queue or guest memory,
// and what is read from guest memory is only displayed.

// When says when one side of a queue asks to be notified by the other.
type When int

// Values of When.
const (
	Always  When = iota
	Never        // the side is polling, or does not need notifications
	AtEvent      // when a certain place in the ring has been passed (VIRTIO_F_EVENT_IDX)
)

// A Notify says when, and for AtEvent where. In a split ring Event is an index in the available or
// used ring (virtio 1.2, sections 2.7.7 and 2.7.10), in a packed ring the index of a descriptor
// with the wrap counter in bit 15 (2.8.10).
type Notify struct {
	When  When
	Event uint16
}

// An Inspection is the state of a queue in guest memory at one moment.
type Inspection struct {
	AvailIdx uint16 // split ring only: the available index that the driver has published
	Waiting  int    // chains available and not popped; more than Size: the driver broke the rules
	Signals  Notify // when the driver asks to be signalled
	Kicks    Notify // when we ask to be kicked
}

// Inspect reads the state of a queue from guest memory. ok is false for a queue whose rings are not
// in its memory table. In a packed ring Inspect reads all descriptors that are available.
func (q *Queue) Inspect() (i Inspection, ok bool) {
	switch {
	case q.absent:
		return Inspection{}, false
	case q.isPacked:
		return q.inspectPacked(), true
	}
	return q.inspectSplit(), true
}

// Waiting returns the number of chains that are available and not popped. In a packed ring Waiting
// looks at limit descriptors at most, so that its time is bounded. ok is as for Inspect.
func (q *Queue) Waiting(limit int) (chains int, ok bool) {
	switch {
	case q.absent:
		return 0, false
	case q.isPacked:
		return q.waitingPacked(limit) + len(q.resubmit), true
	}
	return min(int(q.ring.loadAvailIdx()-q.LastAvail()), q.cfg.Size), true
}

// InFlight returns the number of chains of a split ring, or of descriptors of a packed ring, that
// were popped, by this queue or a previous device, and are not used yet.
func (q *Queue) InFlight() int {
	if q.isPacked {
		return q.packed.inUse
	}
	return int(q.lastAvail - q.usedIdx)
}

// Tracked reports whether the queue keeps an in-flight record.
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
		Waiting: q.waitingPacked(len(r.desc)) + len(q.resubmit),
		Signals: q.notifyPacked(r.loadDriverEvent()),
		Kicks:   q.notifyPacked(atomic.LoadUint32(r.deviceEvent)),
	}
}

// notifyPacked decodes an event suppression structure. Reserved values mean that notifications
// are not suppressed.
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

// waitingPacked counts the available chains in the places that are not in use. It looks at limit
// descriptors at most.
func (q *Queue) waitingPacked(limit int) (n int) {
	p := &q.packed
	pos, head := p.next, true
	for range min(len(p.desc)-p.inUse, limit) {
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
