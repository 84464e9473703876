package virtqueue

import (
	"errors"
	"slices"
	"sync/atomic"
)

// errID says that a chain has the buffer ID of one in flight. The record finds chains by their IDs.
var errID = errors.New("available chain has the id of one that is in use")

// inflightPacked is the record of a packed ring. Used descriptors overwrite available ones, so
// the record contains copies of the descriptors in flight. In words of 64 bits, fields from
// the lowest bit up:
//
//	0       features
//	1       le16 version, le16 desc_num, le16 free_head, le16 old_free_head
//	2       le16 used_idx, le16 old_used_idx, u8 used_wrap_counter, u8 old_used_wrap_counter
//	3       padding
//	4+4*i   u8 inflight, u8 padding, le16 next, le16 last, le16 num
//	5+4*i   le64 counter
//	6+4*i   le16 id, le16 flags, le32 len
//	7+4*i   le64 addr
//
// i is any number. A chain is a list of entries, one per descriptor, linked by next; in the first
// entry all fields of the first two words are valid. The other entries are in a free list that
// begins at free_head.
type inflightPacked struct {
	words   []uint64
	size    int
	counter uint64 // of the next chain
	free    uint16 // free_head
	oldFree uint16
	oldUsed packedPos

	// Private copies of the links, and of the fields of a chain's first entry.
	next, last, num, id []uint16

	first []uint16 // by buffer ID: the chain's first entry, plus 1; 0: not in flight
	batch []uint16 // first entries of the chains that are being published
}

func newInflightPacked(words []uint64, size int) *inflightPacked {
	lists := make([]uint16, 4*size)
	return &inflightPacked{
		words: words[:4+4*size],
		size:  size,
		next:  lists[:size],
		last:  lists[size:][:size],
		num:   lists[2*size:][:size],
		id:    lists[3*size:],
		first: make([]uint16, 1<<16),
	}
}

// lists returns word 1, with the beginning of the free list, now and before the batch that is
// being published.
func (t *inflightPacked) lists() uint64 {
	return inflightVersion | uint64(t.size)<<16 | uint64(t.free)<<32 | uint64(t.oldFree)<<48
}

// place returns word 2, with the place of the next descriptor to mark used. If the new and the old
// place differ, the flags of the descriptor at the old place decide which is right.
func (t *inflightPacked) place(used packedPos) uint64 {
	return uint64(used.idx) | uint64(t.oldUsed.idx)<<16 | uint64(used.lap>>15)<<32 | uint64(t.oldUsed.lap>>15)<<40
}

// entry returns the first word of entry i.
func (t *inflightPacked) entry(i uint16, inflight uint64) uint64 {
	return inflight | uint64(t.next[i])<<16 | uint64(t.last[i])<<32 | uint64(t.num[i])<<48
}

func (t *inflightPacked) word(i uint16) *uint64 { return &t.words[4+4*int(i)] }

func (t *inflightPacked) popped(q *Queue, chains []Chain) error {
	raw := q.raw
	for i := range chains {
		n := chains[i].descs()
		id := chains[i].Head()
		if t.first[id] != 0 {
			return errID
		}
		t.record(id, raw[:n])
		raw = raw[n:]
	}
	return nil
}

// record takes entries from the free list for a chain. The store of the first entry's first word
// puts the chain in flight; all other words are written before.
func (t *inflightPacked) record(id uint16, descs []packedDesc) {
	head, last := t.free, t.free
	for _, d := range descs {
		last = t.free
		w := t.words[4+4*int(last):]
		w[2] = uint64(d.id) | uint64(d.flags)<<16 | uint64(d.len)<<32
		w[3] = d.addr
		t.free = t.next[last]
	}
	t.words[5+4*int(head)] = t.counter
	t.counter++
	t.last[head], t.num[head], t.id[head] = last, uint16(len(descs)), id
	t.first[id] = head + 1
	atomic.StoreUint64(t.word(head), t.entry(head, 1))
	t.oldFree = t.free
	atomic.StoreUint64(&t.words[1], t.lists())
}

func (t *inflightPacked) unpopped(_ *Queue, chains []Chain) {
	for i := range slices.Backward(chains) {
		e := t.forget(chains[i].Head())
		atomic.StoreUint64(t.word(e), t.entry(e, 0))
		t.release(e, 0)
		t.oldFree = t.free
		atomic.StoreUint64(&t.words[1], t.lists())
	}
}

// forget removes the chain with the given ID, which is in flight, from first, and returns
// its first entry.
func (t *inflightPacked) forget(id uint16) uint16 {
	e := t.first[id] - 1
	t.first[id] = 0
	return e
}

// release puts a chain's entries at the beginning of the free list. The inflight field of its first
// entry is set as given.
func (t *inflightPacked) release(e uint16, inflight uint64) {
	last := t.last[e]
	t.next[last] = t.free
	if last != e {
		inflight = 0
	}
	*t.word(last) = t.entry(last, inflight)
	t.free = e
}

func (t *inflightPacked) publishing(q *Queue, done []completion) {
	t.batch = t.batch[:0]
	descs := 0
	for i := range done {
		e := t.forget(uint16(done[i].name))
		t.release(e, 1)
		t.batch = append(t.batch, e)
		descs += done[i].descs()
	}
	atomic.StoreUint64(&t.words[1], t.lists())
	atomic.StoreUint64(&t.words[2], t.place(q.packed.used.add(descs, t.size)))
}

func (t *inflightPacked) published(q *Queue, _ []completion) {
	for _, e := range t.batch {
		*t.word(e) = t.entry(e, 0)
	}
	t.commit(q.packed.used)
}

// commit replaces the old values by the new ones. Until the second store is done, the words for the
// place still describe the batch.
func (t *inflightPacked) commit(used packedPos) {
	t.oldFree = t.free
	atomic.StoreUint64(&t.words[1], t.lists())
	t.oldUsed = used
	atomic.StoreUint64(&t.words[2], t.place(used))
}

func (t *inflightPacked) resubmit(q *Queue, b *Batch, c *Chain, id uint16) (cost int) {
	n := int(t.num[id])
	table := b.table[:0]
	for e := id; len(table) < n; e = t.next[e] {
		d := t.load(e)
		d.flags &^= descNext
		if len(table) < n-1 {
			d.flags |= descNext
		}
		table = append(table, d.link(len(table)))
	}
	b.table = table
	c.name = chainName(t.id[id], n)
	return n + q.walk(b, c, table, loadDesc(&table[0]))
}

func (t *inflightPacked) descs(id uint16) int { return int(t.num[id]) }

// load returns the descriptor in entry e.
func (t *inflightPacked) load(e uint16) packedDesc {
	w := atomic.LoadUint64(&t.words[6+4*int(e)])
	return packedDesc{addr: atomic.LoadUint64(&t.words[7+4*int(e)]), len: uint32(w >> 32), id: uint16(w), flags: uint16(w >> 16)}
}
