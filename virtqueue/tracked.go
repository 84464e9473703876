package virtqueue

// This file is what a queue does besides when it keeps track of the chains that it
// has: because they are used in order (inorder.go), or because somebody is to go on
// with them if we die (inflight.go). It comes once for each batch.

// An inflight is a record, in shared memory, of the chains that were popped and not
// yet published.
type inflight interface {
	// popped adds chains to the record, in order. An error is the queue's.
	popped(q *Queue, chains []Chain) error
	// unpopped removes chains from it, the last ones.
	unpopped(q *Queue, chains []Chain)
	// publishing and published surround the publication of chains, which
	// removes them from the record.
	publishing(q *Queue, done []completion)
	published(q *Queue, done []completion)
	// resubmit walks the chain that is called id in the record, which has so many
	// descs. The cost is walk's.
	resubmit(q *Queue, b *Batch, c *Chain, id uint16) (cost int)
	descs(id uint16) int
}

func (q *Queue) popTracked(b *Batch, limit int) (n int, err error) {
	had := len(b.Chains)
	switch {
	case len(q.resubmit) != 0 && q.broken == nil:
		n = q.popResubmit(b, limit)
	default:
		if n, err = q.popRing(b, limit); err != nil {
			return 0, err
		}
		if q.inflight != nil {
			if err := q.inflight.popped(q, b.Chains[had:]); err != nil {
				b.Chains = b.Chains[:had]
				return 0, q.fail(err)
			}
			q.fresh += n
		}
	}
	if q.inOrder {
		q.order.pop(b.Chains[had:])
	}
	return n, nil
}

// popResubmit pops chains that one before us had popped when it died.
func (q *Queue) popResubmit(b *Batch, limit int) (n int) {
	for cost := 0; n < limit && len(q.resubmit) != 0 && cost < maxPopCost; n++ {
		b.Chains = append(b.Chains, Chain{})
		cost += q.inflight.resubmit(q, b, &b.Chains[len(b.Chains)-1], q.resubmit[0])
		q.resubmit = q.resubmit[1:]
		q.resubmitted++
	}
	return n
}

func (q *Queue) unpopTracked(chains []Chain) {
	if q.inOrder {
		q.order.unpop(len(chains))
	}
	if q.inflight != nil {
		again := max(0, len(chains)-q.fresh)
		q.resubmitted -= again
		q.resubmit = q.resubmits[q.resubmitted:]
		chains = chains[again:]
		q.fresh -= len(chains)
		q.inflight.unpopped(q, chains)
	}
	q.unpopRing(chains)
}

func (q *Queue) publishTracked() {
	elements, more := q.done, 0
	if q.inOrder {
		elements, more = q.order.merge(q.done)
	}
	if q.inflight != nil {
		q.inflight.publishing(q, q.done)
	}
	q.publishRing(elements, more)
	if q.inflight != nil {
		q.inflight.published(q, q.done)
	}
}
