package virtqueue

// ChainOf returns a chain of a split ring of which only the head is known, as if it had
// been popped.
func ChainOf(head uint16) *Chain { return &Chain{name: chainName(head, 0)} }
