package virtqueue

// ChainOf returns a chain of a split ring of which only the head is known, as if the chain
// had been popped.
func ChainOf(head uint16) *Chain { return &Chain{name: chainName(head, 0)} }

// UsedMark returns the mark of used descriptors whose batch began at a place.
func UsedMark(first uint16) uint64 { return usedMark(packedPosOf(first)) }
