package virtqueue

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
)

// inflightSplit is the record of a split ring. In words of 64 bits, fields from the lowest bit up:
//
//	0       features
//	1       le16 version, le16 desc_num, le16 last_batch_head, le16 used_idx
//	2+2*i   u8 inflight, u8 padding[5], le16 next
//	3+2*i   le64 counter
//
// i is a chain's head. The chains of the batch that is being published are a list, linked by next,
// that begins at last_batch_head.
type inflightSplit struct {
	words   []uint64
	size    int
	counter uint64 // of the next chain
	used    uint16 // used_idx
	last    uint16 // last_batch_head ...
	before  uint16 // ... and its value before the batch that is being published
}

// head returns word 1. It says which chains are not in flight whatever the rest of the record says:
// those at the beginning of the list, as many as the used ring's index is ahead of used_idx.
func (t *inflightSplit) head() uint64 {
	return inflightVersion | uint64(t.size)<<16 | uint64(t.last)<<32 | uint64(t.used)<<48
}

func (t *inflightSplit) popped(_ *Queue, chains []Chain) error {
	for i := range chains {
		w := t.words[2+2*int(chains[i].Head()):]
		w[1] = t.counter
		atomic.StoreUint64(&w[0], 1)
		t.counter++
	}
	return nil
}

// unpopped starts with the last chain, so that the chains in flight are at any time those that
// were popped first.
func (t *inflightSplit) unpopped(_ *Queue, chains []Chain) {
	for i := range slices.Backward(chains) {
		atomic.StoreUint64(&t.words[2+2*int(chains[i].Head())], 0)
	}
}

func (t *inflightSplit) publishing(_ *Queue, done []completion) {
	t.before = t.last
	for i := range done {
		id := uint16(done[i].name)
		t.words[2+2*int(id)] = 1 | uint64(t.last)<<48
		t.last = id
	}
	atomic.StoreUint64(&t.words[1], t.head())
}

func (t *inflightSplit) published(q *Queue, done []completion) {
	next := t.before
	for i := range done {
		id := uint16(done[i].name)
		t.words[2+2*int(id)] = uint64(next) << 48 // not in flight, but still in the list
		next = id
	}
	t.used = q.usedIdx
	atomic.StoreUint64(&t.words[1], t.head())
}

func (t *inflightSplit) resubmit(q *Queue, b *Batch, c *Chain, id uint16) (cost int) {
	c.name = chainName(id, 0)
	return q.walk(b, c, q.ring.desc, loadDesc(&q.ring.desc[id]))
}

func (t *inflightSplit) descs(uint16) int { return 1 }

// anyInflight reports whether one of the entries is marked.
func anyInflight(entries []uint64) bool {
	for ; len(entries) > 0; entries = entries[2:] {
		if entries[0]&0xff != 0 {
			return true
		}
	}
	return false
}

// recoverSplit reads a record ("When reconnecting").
func (q *Queue) recoverSplit(words []uint64) (inflight, []uint16, error) {
	size := q.cfg.Size
	t := &inflightSplit{words: words[:2+2*size], size: size, used: q.usedIdx}
	head := words[1]
	if err := checkInflight(words[0], head, size); err != nil {
		return nil, nil, err
	}
	entries := slices.Clone(t.words[2:])
	if uint16(head) == 0 || !anyInflight(entries) {
		clear(t.words)
		atomic.StoreUint64(&t.words[1], t.head())
		if uint16(head) != 0 {
			q.lastAvail = q.usedIdx
		}
		return t, nil, nil
	}
	t.last = uint16(head >> 32)
	batch := t.used - uint16(head>>48) // chains published, and perhaps not cleared
	if int(batch) > size {
		return nil, nil, fmt.Errorf("%w: %d chains have been used since", ErrInflight, batch)
	}
	for id := t.last; batch > 0; batch-- {
		if int(id) >= size {
			return nil, nil, fmt.Errorf("%w: chain %d", ErrInflight, id)
		}
		e := &entries[2*int(id)]
		*e &^= 0xff
		t.words[2+2*int(id)] = *e
		id = uint16(*e >> 48)
	}
	atomic.StoreUint64(&t.words[1], t.head())

	var again []uint16
	for id := range size {
		if entries[2*id]&0xff != 0 {
			again = append(again, uint16(id))
		}
	}
	slices.SortStableFunc(again, func(a, b uint16) int {
		return cmp.Compare(entries[2*int(a)+1], entries[2*int(b)+1])
	})
	if n := len(again); n > 0 {
		t.counter = entries[2*int(again[n-1])+1] + 1
	}
	// The chains that were popped are those used and those in flight.
	q.lastAvail = q.usedIdx + uint16(len(again))
	return t, again, nil
}
