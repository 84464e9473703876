package virtqueue

// This file is the hot path on the way back: completed chains go into the used
// ring, are published together, and the driver is signalled at most once.

// Complete records that the chain c, or a copy of it, is done and that n bytes were
// written to it. The driver does not see it before Flush.
func (q *Queue) Complete(c *Chain, n uint32) {
	e := &q.ring.used[(q.usedIdx+q.pending)&q.mask]
	e[0], e[1] = uint32(c.Head), n
	q.pending++
}

// Pending returns how many completions have been recorded and not published.
func (q *Queue) Pending() int { return int(q.pending) }

// Rollback forgets completions until n are left.
func (q *Queue) Rollback(n int) { q.pending = uint16(n) }

// Flush publishes what was completed and signals the driver if it wants that.
func (q *Queue) Flush() {
	if q.pending != 0 {
		q.usedIdx += q.pending
		q.pending = 0
		// The store is a full fence: "The device MUST ... perform a memory
		// barrier" between writing idx and reading what the driver wants
		// (2.7.7.2, 2.7.10), or both sides may miss each other.
		q.ring.storeUsed(q.usedFlags, q.usedIdx)
	} else if !q.mustCall {
		return
	}
	if q.wantsSignal() {
		q.Signal()
	}
}

// wantsSignal reports whether the driver wants to hear of the used entries from
// q.signalled to q.usedIdx (2.7.7).
func (q *Queue) wantsSignal() bool {
	was, now := q.signalled, q.usedIdx
	q.signalled = now
	if q.mustCall {
		return true
	}
	if q.eventIdx {
		// The driver wants one when entry used_event has been used: when it is
		// among those from was to now-1.
		return now-*q.ring.usedEvent-1 < now-was
	}
	return q.ring.loadAvailFlags()&availNoInterrupt == 0
}

// Arm asks the driver to notify us of the next chain it makes available, and
// reports whether there is one already, of which it may not notify us.
func (q *Queue) Arm() (pending bool) {
	if q.broken != nil {
		return false
	}
	if q.eventIdx {
		*q.ring.availEvent = q.lastAvail
	}
	q.usedFlags = 0
	// Rewriting the published index changes nothing; the store is the full fence
	// that has to stand between asking and looking again.
	q.ring.storeUsed(0, q.usedIdx)
	return q.ring.loadAvailIdx() != q.lastAvail
}

// Disarm tells the driver that we are polling and need no notification.
func (q *Queue) Disarm() {
	if q.broken != nil || q.eventIdx {
		// With EVENT_IDX the flag "MUST" be 0 (2.7.10.1), and the driver
		// stays quiet until it passes avail_event, which is behind it.
		return
	}
	q.usedFlags = usedNoNotify
	q.ring.storeUsed(usedNoNotify, q.usedIdx)
}
