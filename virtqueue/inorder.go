package virtqueue

// order is the state of a split queue with VIRTIO_F_IN_ORDER (2.7.9), where one used element, with
// the id of the last chain of a batch, can stand for the whole batch. "The skipped buffers ... are
// assumed to have been used (read or written) by the device completely": that is true of chains
// that are only read, but not of chains whose length has to be reported, nor of invalid ones.
//
// For example, a device has completed four chains of a ring of 8 entries, whose used index was 6.
// Their heads are 3, 5, 0 and 6, and only 5 has a buffer that the device has written to (8 bytes).
//
//	used entry   6        7        0        1
//	id           3        5        6        (unchanged)      used index: 6 -> 10
//	length       0        8        0
//	stands for   3        5        0 and 6
//
// Up to chain 5 each chain has its own element (separate is 2); one element stands for the
// two chains after it. The driver knows the order, finds the last chain's id in entry 0,
// and skips entry 1.
//
// A packed ring does not need this: all places of its chains, which are adjacent, are written to
// anyway (usedMark).
type order struct {
	popped   int          // chains that are not published
	separate int          // the oldest of these, which get used elements to themselves
	merged   []completion // scratch
}

// pop records chains that were popped.
func (o *order) pop(chains []Chain) {
	for i := range chains {
		o.popped++
		if c := &chains[i]; len(c.Writable) != 0 || c.Err != nil {
			o.separate = o.popped
		}
	}
}

// unpop records that the last n chains were returned. They are going to be popped again,
// at the same place.
func (o *order) unpop(n int) { o.popped = max(0, o.popped-n) }

// merge returns used elements for completed chains, and the number of chains that the last element
// stands for besides its own.
func (o *order) merge(done []completion) (elements []completion, more int) {
	separate := min(o.separate, len(done))
	o.separate -= separate
	o.popped = max(0, o.popped-len(done))
	if len(done)-separate < 2 {
		return done, 0
	}
	o.merged = append(append(o.merged[:0], done[:separate]...), done[len(done)-1])
	return o.merged, len(done) - separate - 1
}
