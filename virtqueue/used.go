package virtqueue

import "slices"

// This file is the completing half of the hot path: completed chains are collected in private
// memory, written to the ring and published together, and the driver is signalled at most once.

// A completion holds the contents of a used element.
type completion struct {
	name uint32 // of the chain; see chainName
	n    uint32 // bytes written
}

func (c *completion) descs() int { return int(c.name >> 16) }

// Complete records that the chain c, or a copy of it, is done and that the first n bytes of its
// writable pieces were written. The driver does not see the completion before Flush. The chain's
// Batch must not have been reset.
//
// Chains may be completed in any order, except where IN_ORDER was negotiated.
func (q *Queue) Complete(c *Chain, n uint32) {
	// The body is just small enough for the compiler to inline.
	q.done = append(q.done, completion{c.name, n})
	if q.logging {
		q.logPayload(c, n)
	}
}

// CompleteAll records that all chains of b are done and that nothing was written to them, as if by
// calling Complete for each one with length 0.
func (q *Queue) CompleteAll(b *Batch) {
	had, chains := len(q.done), b.Chains
	q.done = slices.Grow(q.done, len(chains))[:had+len(chains)]
	done := q.done[had:][:len(chains)]
	for i := range chains {
		done[i] = completion{name: chains[i].name}
	}
}

// Pending returns the number of completions that have been recorded and not published.
func (q *Queue) Pending() int { return len(q.done) }

// Rollback discards the latest completions until n are left.
func (q *Queue) Rollback(n int) { q.done = q.done[:n] }

// Flush publishes the recorded completions and signals the driver if the driver asked for that.
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

// publish is Flush without the signal. It ends with a full fence: "The device MUST ... perform a
// memory barrier" between publishing and reading the driver's event suppression (2.7.7.2, 2.7.10),
// or both sides may miss each other's update.
func (q *Queue) publish() {
	q.publishing = true
	if q.tracked {
		q.publishTracked()
	} else {
		q.publishRing(q.done, 0)
	}
	q.done, q.publishing = q.done[:0], false
}

// publishRing writes used elements and publishes them. In a split ring the last element stands for
// more chains besides its own.
func (q *Queue) publishRing(elements []completion, more int) {
	if q.isPacked {
		q.publishPacked(elements)
	} else {
		q.publishSplit(elements, more)
	}
}

// wantsSignal reports whether the driver asked to be signalled for what has been published
// since the last call.
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

// Arm asks the driver to notify us of the next chain that it makes available, and reports whether
// chains are available already, of which the driver may not notify us.
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

// Disarm asks the driver not to notify us, because we are polling.
func (q *Queue) Disarm() {
	switch {
	case q.broken != nil:
	case q.isPacked:
		q.disarmPacked()
	default:
		q.disarmSplit()
	}
}
