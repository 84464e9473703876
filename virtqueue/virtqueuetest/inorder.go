package virtqueuetest

import "fmt"

// inOrder is the book-keeping of a driver with VIRTIO_F_IN_ORDER: the chains that were offered, in
// order. A used element may stand for all of them up to the one that it names.
type inOrder struct {
	heads   []uint16 // a circular buffer: n heads, the oldest at index at
	at, n   int
	last    uint16 // the chain that the current element names ...
	len     uint32 // ... and its length
	current bool   // there is a current element
}

func (o *inOrder) offer(head uint16) {
	if o.n == len(o.heads) {
		panic("virtqueuetest: more chains are offered than there are descriptors")
	}
	o.heads[(o.at+o.n)%len(o.heads)] = head
	o.n++
}

// take returns the oldest chain, which the current element covers.
func (o *inOrder) take() (head uint16) {
	if o.n == 0 {
		panic(fmt.Sprintf("virtqueuetest: chain %d is used but was not offered", o.last))
	}
	head = o.heads[o.at]
	o.at = (o.at + 1) % len(o.heads)
	o.n--
	if head == o.last {
		o.current = false
	}
	return head
}
