package virtqueue

// Pop appends up to limit available chains to b and returns how many: at least
// one if there is one, fewer than there are if they are long. (Those that are
// popped again after a crash come first, and by themselves.) Bad chains are among
// them, with Err set; they, too, have to be completed. An error is the queue's,
// which is then broken; nothing was popped.
func (q *Queue) Pop(b *Batch, limit int) (int, error) {
	if q.tracked {
		return q.popTracked(b, limit)
	}
	return q.popRing(b, limit)
}

func (q *Queue) popRing(b *Batch, limit int) (int, error) {
	if q.isPacked {
		return q.popPacked(b, limit)
	}
	return q.popSplit(b, limit)
}

// Unpop gives the last n popped chains back, as if they had not been popped, and
// removes them from b. None of them may have been completed.
func (q *Queue) Unpop(b *Batch, n int) {
	keep := len(b.Chains) - n
	if q.tracked {
		q.unpopTracked(b.Chains[keep:])
	} else {
		q.unpopRing(b.Chains[keep:])
	}
	b.Chains = b.Chains[:keep]
}

func (q *Queue) unpopRing(chains []Chain) {
	if q.isPacked {
		q.unpopPacked(chains)
	} else {
		q.lastAvail -= uint16(len(chains))
	}
}

// Available returns how many chains the driver has made available and Pop has
// not taken.
func (q *Queue) Available() (int, error) {
	if q.broken != nil {
		return 0, q.broken
	}
	n, err := 0, error(nil)
	if q.isPacked {
		n, err = q.availablePacked()
	} else {
		n, err = q.availableSplit()
	}
	return n + len(q.resubmit), err
}
