package virtqueue

// This file is the additional work of a queue that keeps track of its chains in flight: because
// they are used in order (inorder.go), or because a successor has to resubmit them after a crash
// (inflight.go). It runs once for each batch.

// An inflight is a record, in shared memory, of the chains that were popped and not yet published.
type inflight interface {
	// popped adds chains to the record, in order. An error breaks the queue.
	popped(q *Queue, chains []Chain) error
	// unpopped removes chains, the last ones, from the record.
	unpopped(q *Queue, chains []Chain)
	// publishing and published are called before and after the publication of chains, which
	// removes them from the record.
	publishing(q *Queue, done []completion)
	published(q *Queue, done []completion)
	// resubmit fills c with the chain that has the given id in the record, and returns the cost
	// as walk does. descs returns the chain's number of descriptors.
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

// popResubmit pops chains that a previous device had popped when it died.
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
