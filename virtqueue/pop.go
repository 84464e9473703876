package virtqueue

// Pop appends up to limit available chains to b and returns their number. It returns at least one
// if any is available, and fewer than are available if they are long. (Chains that are resubmitted
// after a crash come first, in batches that contain no others.) Invalid chains are included, with
// Err set; they have to be completed like the others. An error means that the queue is broken and
// that nothing was popped.
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

// Unpop returns the last n popped chains to the ring, as if they had not been popped, and removes
// them from b. None of them may have been completed.
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

// Available returns the number of chains that the driver has made available and that have
// not been popped.
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
