package virtqueue

import (
	"errors"
	"slices"
)

// Errors of a single chain: it is completed with length 0 and the queue goes on.
var (
	ErrLoop      = errors.New("descriptor chain is longer than allowed or loops")
	ErrNext      = errors.New("descriptor index outside the table")
	ErrZeroLen   = errors.New("descriptor with length 0")
	ErrDirection = errors.New("device-readable descriptor behind a device-writable one")
	ErrIndirect  = errors.New("bad indirect descriptor")
	ErrTooLong   = errors.New("descriptor chain of too many bytes or pieces")
)

// MaxIndirect is how many descriptors an indirect table has at most. (Drivers
// use a queue's size as their limit, and one number for all sizes keeps small
// queues usable with large frames; it bounds what one chain can cost.)
const MaxIndirect = 1024

// maxPopCost is how many descriptors, and pieces of them, Pop walks through before it
// begins no other chain: long chains make short batches, and the other queues of
// a worker get their turn. Each piece may lie in a page that is not there.
const maxPopCost = 512

// maxChainSegs is how many pieces one chain has at most. Without it a chain of
// MaxSize descriptors over MaxRegions tiny regions would have their product. A device may set
// a lower limit, see [Queue.LimitPieces].
const maxChainSegs = 1 << 16

// A Chain is one buffer that the driver made available: a descriptor chain,
// translated. The slices point into guest memory. They and the lists of them
// are valid until the chain's Batch is reset. The lists are private: the chain's
// user may re-slice and edit Readable. Writable has to stay as it is until the
// chain is completed, because a dirty log is told by it what was written.
type Chain struct {
	Readable [][]byte // device-readable pieces, in order
	Writable [][]byte // device-writable pieces, in order
	Err      error    // the chain is bad: the lists are empty

	name uint32 // see chainName
}

// chainName is all that a used element needs to know of a chain: what the driver calls
// it and, in a packed ring, how many descriptors it has.
func chainName(head uint16, descs int) uint32 { return uint32(head) | uint32(descs)<<16 }

// Head returns what the driver calls the chain: the index of its first descriptor, or in
// a packed ring its buffer ID.
func (c *Chain) Head() uint16 { return uint16(c.name) }

func (c *Chain) descs() int { return int(c.name >> 16) }

// direct makes c a chain of one descriptor with these flags, whose piece is s.
func (c *Chain) direct(name uint32, s [][]byte, flags uint16) {
	c.name = name
	if flags&descWrite == 0 {
		c.Readable, c.Writable, c.Err = s, nil, nil
	} else {
		c.Readable, c.Writable, c.Err = nil, s, nil
	}
}

// A Batch holds popped chains and the memory that their lists lie in, to be used
// again and again without allocation.
type Batch struct {
	Chains []Chain

	segs     [][]byte
	indirect [][2]uint64 // private copy of the indirect table being walked
	table    [][2]uint64 // the same of a chain in a packed ring
}

// NewBatch returns a Batch with room for n chains of a few pieces. It grows when
// it has to.
func NewBatch(n int) *Batch {
	return &Batch{Chains: make([]Chain, 0, n), segs: make([][]byte, 0, 4*n)}
}

// pieces returns room for n more pieces, behind b.segs.
func (b *Batch) pieces(n int) [][]byte {
	b.segs = slices.Grow(b.segs, n)
	return b.segs[len(b.segs):][:n]
}

// Reset forgets all chains.
func (b *Batch) Reset() {
	b.Chains = b.Chains[:0]
	b.segs = b.segs[:0]
}

// Len returns the number of bytes in a list of pieces.
func Len(segs [][]byte) int {
	n := 0
	for _, s := range segs {
		n += len(s)
	}
	return n
}
