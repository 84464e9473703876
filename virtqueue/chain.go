package virtqueue

import (
	"errors"
	"slices"

	"golang.org/x/sys/cpu"
)

// Errors of a single chain: the chain is completed with length 0 and the queue continues.
var (
	ErrLoop      = errors.New("descriptor chain is longer than allowed or loops")
	ErrNext      = errors.New("descriptor index outside the table")
	ErrZeroLen   = errors.New("descriptor with length 0")
	ErrDirection = errors.New("device-readable descriptor behind a device-writable one")
	ErrIndirect  = errors.New("bad indirect descriptor")
	ErrTooLong   = errors.New("descriptor chain with too many bytes or pieces")
)

// MaxIndirect is the largest number of descriptors in an indirect table. (Drivers use the queue's
// size as their limit. One limit for all sizes keeps small queues usable with large frames, and
// bounds the cost of one chain.)
const MaxIndirect = 1024

// maxPopCost is the number of descriptors, and pieces of them, after which Pop does not begin
// another chain: long chains make short batches, so that a worker gets to its other queues. Each
// piece may cost a page fault.
const maxPopCost = 512

// maxChainSegs is the largest number of pieces in a chain. Without this limit a chain of MaxSize
// descriptors over MaxRegions tiny regions would have the product of the two. A device may set a
// lower limit, see [Queue.LimitPieces].
const maxChainSegs = 1 << 16

// A Chain is one buffer that the driver made available: a descriptor chain, translated to slices of
// guest memory. The slices and the lists of them are valid until the chain's Batch is reset. The
// lists are private: the user of the chain may re-slice and edit Readable. Writable must stay
// unchanged until the chain is completed, because the dirty log is marked according to Writable.
type Chain struct {
	Readable [][]byte // device-readable pieces, in order
	Writable [][]byte // device-writable pieces, in order
	Err      error    // the chain is invalid: both lists are empty

	name uint32 // see chainName
}

// chainName returns what a used element needs to know of a chain: the index of its first descriptor
// or its buffer ID, and, in a packed ring, the number of its descriptors.
func chainName(head uint16, descs int) uint32 { return uint32(head) | uint32(descs)<<16 }

// Head returns the driver's identifier for the chain: the index of its first descriptor, or in a
// packed ring its buffer ID.
func (c *Chain) Head() uint16 { return uint16(c.name) }

func (c *Chain) descs() int { return int(c.name >> 16) }

// direct makes c a chain of one descriptor with the given flags. s holds the only piece.
func (c *Chain) direct(name uint32, s [][]byte, flags uint16) {
	c.name = name
	if flags&descWrite == 0 {
		c.Readable, c.Writable, c.Err = s, nil, nil
	} else {
		c.Readable, c.Writable, c.Err = nil, s, nil
	}
}

// A Batch holds popped chains and the backing memory of their lists, and is reused
// without allocation.
type Batch struct {
	Chains []Chain

	segs     [][]byte
	indirect [][2]uint64 // private copy of the indirect table being walked
	table    [][2]uint64 // private copy of the descriptors of a chain in a packed ring

	_ cpu.CacheLinePad // what lies behind may be another thread's
}

// NewBatch returns a Batch with room for n chains of a few pieces. A Batch grows when necessary.
func NewBatch(n int) *Batch {
	return &Batch{Chains: make([]Chain, 0, n), segs: make([][]byte, 0, 4*n)}
}

// pieces returns room for n more pieces after b.segs.
func (b *Batch) pieces(n int) [][]byte {
	b.segs = slices.Grow(b.segs, n)
	return b.segs[len(b.segs):][:n]
}

// Reset removes all chains.
func (b *Batch) Reset() {
	b.Chains = b.Chains[:0]
	b.segs = b.segs[:0]
}

// Len returns the total number of bytes in a list of pieces.
func Len(segs [][]byte) int {
	n := 0
	for _, s := range segs {
		n += len(s)
	}
	return n
}
