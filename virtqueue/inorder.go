package virtqueue

// order is what a split queue with VIRTIO_F_IN_ORDER keeps (2.7.9), so that one used
// element, with the id of the last chain of a batch, can stand for the whole
// batch. "The skipped buffers ... are assumed to have been used (read or written)
// by the device completely": that can be said of chains that are only read, and not
// of those with a length to tell, or bad ones.
//
// A packed ring has no use for that: all places of its chains are written to anyway,
// next to each other (usedMark).
type order struct {
	popped int          // chains that are not published
	alone  int          // so many of them, the oldest ones, get used elements of their own
	merged []completion // scratch
}

// pop takes note of chains that were popped.
func (o *order) pop(chains []Chain) {
	for i := range chains {
		o.popped++
		if c := &chains[i]; len(c.Writable) != 0 || c.Err != nil {
			o.alone = o.popped
		}
	}
}

// unpop takes note that the last n were given back. They are going to be popped again,
// at the same place.
func (o *order) unpop(n int) { o.popped = max(0, o.popped-n) }

// merge returns used elements for completed chains, and how many chains the last of
// them stands for besides its own.
func (o *order) merge(done []completion) (elements []completion, more int) {
	alone := min(o.alone, len(done))
	o.alone -= alone
	o.popped = max(0, o.popped-len(done))
	if len(done)-alone < 2 {
		return done, 0
	}
	o.merged = append(append(o.merged[:0], done[:alone]...), done[len(done)-1])
	return o.merged, len(done) - alone - 1
}
