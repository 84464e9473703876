package virtqueue

import "slices"

// This file is the hot path on the way back: completed chains are collected in
// private memory, written to the ring and published together, and the driver is
// signalled at most once.

// A completion is what a used element is made of.
type completion struct {
	name uint32 // the chain's
	n    uint32 // bytes written
}

func (c *completion) descs() int { return int(c.name >> 16) }

// Complete records that the chain c, or a copy of it, is done and that the first n
// bytes of its writable pieces were written. The driver does not see it before
// Flush. The chain's Batch must not have been reset.
//
// Chains may be completed in any order, except where IN_ORDER was negotiated.
func (q *Queue) Complete(c *Chain, n uint32) {
	// As it is, this is just small enough for the compiler to inline it.
	q.done = append(q.done, completion{c.name, n})
	if q.logging {
		q.logPayload(c, n)
	}
}

// CompleteAll records that all chains of b are done and that nothing was written into
// them, as Complete does for each one.
func (q *Queue) CompleteAll(b *Batch) {
	had, chains := len(q.done), b.Chains
	q.done = slices.Grow(q.done, len(chains))[:had+len(chains)]
	done := q.done[had:][:len(chains)]
	for i := range chains {
		done[i] = completion{name: chains[i].name}
	}
}

// Pending returns how many completions have been recorded and not published.
func (q *Queue) Pending() int { return len(q.done) }

// Rollback forgets completions until n are left.
func (q *Queue) Rollback(n int) { q.done = q.done[:n] }

// Flush publishes what was completed and signals the driver if it wants that.
func (q *Queue) Flush() {
	switch {
	case len(q.done) != 0 && !q.absent:
		q.publish()
	case !q.mustCall:
		return
	}
	if q.wantsSignal() {
		q.Signal()
	}
}

// publish is Flush up to the signal. It ends with a full fence: "The device MUST ...
// perform a memory barrier" between publishing and reading what the driver wants
// (2.7.7.2, 2.7.10), or both sides may miss each other.
func (q *Queue) publish() {
	q.publishing = true
	if q.tracked {
		q.publishTracked()
	} else {
		q.publishRing(q.done, 0)
	}
	q.done, q.publishing = q.done[:0], false
}

// publishRing writes used elements and publishes them. The last one stands for so
// many more chains, in a split ring.
func (q *Queue) publishRing(elements []completion, more int) {
	if q.isPacked {
		q.publishPacked(elements)
	} else {
		q.publishSplit(elements, more)
	}
}

// wantsSignal reports whether the driver wants to hear of what has been published
// since it was last asked.
func (q *Queue) wantsSignal() bool {
	must := q.mustCall
	if q.absent {
		return must
	}
	if q.isPacked {
		return q.wantsSignalPacked() || must
	}
	return q.wantsSignalSplit() || must
}

// Arm asks the driver to notify us of the next chain it makes available, and
// reports whether there is one already, of which it may not notify us.
func (q *Queue) Arm() (pending bool) {
	if q.broken != nil {
		return false
	}
	if q.isPacked {
		pending = q.armPacked()
	} else {
		pending = q.armSplit()
	}
	return pending || len(q.resubmit) != 0
}

// Disarm tells the driver that we are polling and need no notification.
func (q *Queue) Disarm() {
	switch {
	case q.broken != nil:
	case q.isPacked:
		q.disarmPacked()
	default:
		q.disarmSplit()
	}
}
