package virtqueue

// This file holds the parts of used.go that are specific to split rings.

// publishSplit writes used elements after the published ones and publishes them.
func (q *Queue) publishSplit(elements []completion, more int) {
	was := q.usedIdx
	entries := entriesOf(elements)
	for at := was & q.mask; len(entries) != 0; at = 0 {
		entries = entries[copy(q.ring.used[at:], entries):]
	}
	q.usedIdx = was + uint16(len(elements)+more)
	q.ring.storeUsed(q.usedFlags, q.usedIdx) // a full fence
	if q.logUsed {
		q.logUsedSplit(was, len(elements))
	}
}

// wantsSignalSplit reports whether the driver asked to be signalled for the used entries from
// q.signalled to q.usedIdx (2.7.7).
func (q *Queue) wantsSignalSplit() bool {
	was, now := q.signalled, q.usedIdx
	q.signalled = now
	if q.notifyOnEmpty && q.ring.loadAvailIdx() == q.lastAvail {
		return true
	}
	if q.eventIdx {
		// The driver asks for a signal when entry used_event is used, that is when
		// used_event is one of was ... now-1.
		return now-*q.ring.usedEvent-1 < now-was
	}
	return q.ring.loadAvailFlags()&availNoInterrupt == 0
}

func (q *Queue) armSplit() (pending bool) {
	if q.eventIdx {
		*q.ring.availEvent = q.lastAvail
	}
	q.usedFlags = 0
	// Rewriting the published index changes nothing; the store is the full fence that is
	// required between asking for a notification and looking again.
	q.ring.storeUsed(0, q.usedIdx)
	if q.logUsed {
		q.logEventSplit()
	}
	return q.ring.loadAvailIdx() != q.lastAvail
}

func (q *Queue) disarmSplit() {
	if q.eventIdx {
		// With EVENT_IDX the flag "MUST" be 0 (2.7.10.1), and the driver does not notify us
		// until it passes avail_event, which is behind it.
		return
	}
	q.usedFlags = usedNoNotify
	q.ring.storeUsed(usedNoNotify, q.usedIdx)
	if q.logUsed {
		q.logEventSplit()
	}
}
