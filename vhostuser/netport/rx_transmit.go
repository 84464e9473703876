package netport

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/virtqueue"
)

// This file is the hot path from the switch to the guest. It runs on any worker, with the
// receiveq's lock held for one group of frames. It does not allocate.

// Transmit implements vswitch.Port.
func (p *Port) Transmit(frames []*vswitch.Frame) (sent int) {
	if filter := p.filter.Load(); filter != nil {
		return p.transmitFiltered(filter, frames)
	}
	return p.transmitAll(frames)
}

// transmitAll is Transmit for frames that have passed the filter.
func (p *Port) transmitAll(frames []*vswitch.Frame) (sent int) {
	set := p.receivers.Load()
	switch len(*set) {
	case 0:
		vswitch.RefuseAll(frames, vswitch.DropDown)
		return 0
	case 1:
		return p.transmitTo((*set)[0], set, frames)
	}
	return p.transmitSpread(set, frames)
}

// transmitSpread distributes flows over the receiveqs: the frames of a flow go to one
// receiveq, in order.
func (p *Port) transmitSpread(set *[]*rxQueue, frames []*vswitch.Frame) (sent int) {
	var (
		queue [vswitch.MaxBatch]uint16
		group [vswitch.MaxBatch]*vswitch.Frame
	)
	const done = ^uint16(0)
	receivers := *set
	for len(frames) > vswitch.MaxBatch {
		sent += p.transmitSpread(set, frames[:vswitch.MaxBatch])
		frames = frames[vswitch.MaxBatch:]
	}
	for i, f := range frames {
		queue[i] = uint16(flowHash(f.Head) % uint32(len(receivers)))
	}
	for i := range frames {
		d := queue[i]
		if d == done {
			continue
		}
		n := 0
		for j := i; j < len(frames); j++ {
			if queue[j] == d {
				group[n] = frames[j]
				n++
				queue[j] = done
			}
		}
		sent += p.transmitTo(receivers[d], set, group[:n])
	}
	return sent
}

// transmitTo sends frames to a receiveq of a set of receivers, or to the first one of the current
// set, if the chosen one was disabled or stopped meanwhile or was never given a buffer. (A Linux
// driver fills the receiveqs that it adds some time after it has enabled them.) So a guest that
// changes its number of queues under traffic loses no frame. There is only one further attempt, so
// that a front-end that keeps changing its queues cannot occupy a worker.
func (p *Port) transmitTo(q *rxQueue, set *[]*rxQueue, frames []*vswitch.Frame) (sent int) {
	n, why, ok := q.transmit(frames)
	if ok {
		return n
	}
	if now := p.receivers.Load(); len(*now) > 0 && (now != set || (*now)[0] != q) {
		if n, why, ok = (*now)[0].transmit(frames); ok {
			return n
		}
	}
	vswitch.RefuseAll(frames, why)
	return 0
}

// transmit copies frames into receive buffers, publishes them together and signals the guest at
// most once. If ok is false, nothing was done with the frames, and why is the reason for refusing
// them unless another receiveq takes them.
func (q *rxQueue) transmit(frames []*vswitch.Frame) (sent int, why vswitch.DropReason, ok bool) {
	q.lock()
	defer q.mu.Unlock()
	if !q.active() || q.port.failed.Load() {
		return 0, vswitch.DropDown, false
	}
	if !q.filled && !q.hasBuffers() {
		return 0, vswitch.DropRingFull, false
	}
	if q.holding() {
		q.deliverHeld()
	}
	q.batch.Reset()
	q.group = group{frames: len(frames), firstKept: len(frames)}
	if q.holding() {
		q.firstKept = 0
	}
	for faults := 1; q.next < len(frames); faults++ {
		if q.attempt(frames); faults == maxForeignFaults && q.next < len(frames) {
			vswitch.RefuseAll(frames[q.next:], vswitch.DropFault)
			break
		}
	}
	q.finish(frames)
	q.count()
	if q.kept > 0 {
		q.heldTotal += uint64(q.kept)
		q.callDrain()
	}
	return q.sent + q.kept, 0, true
}

// hasBuffers reports whether the driver has made a buffer available. Errors of the ring are left to
// be found by the attempt to use it.
func (q *rxQueue) hasBuffers() (has bool) {
	q.filled = true
	defer func() {
		_ = recover()
		has = q.filled
	}()
	n, err := q.vq.Available()
	q.filled = n > 0 || err != nil
	return q.filled
}

// maxForeignFaults is the number of frames of a group that may be in memory that has vanished or is
// absent before the rest of the group is dropped as well. A fault takes some microseconds, and the
// sender chooses how many frames fault, and how many ports they are flooded to.
const maxForeignFaults = 4

// attempt transmits frames from q.next on. A frame whose Body faults is refused, and the next
// attempt continues after that frame. If the memory of the queue's own guest faults, all remaining
// frames are refused.
func (q *rxQueue) attempt(frames []*vswitch.Frame) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if !q.fault(r) {
			frames[q.next].Refuse(vswitch.DropFault)
			q.next++
			return
		}
		why := vswitch.DropFault
		if !q.port.failed.Load() {
			why = vswitch.DropPageAbsent
		}
		vswitch.RefuseAll(frames[q.next:], why)
		q.next = len(frames)
	}()
	if q.firstKept == q.frames {
		q.putAll(frames)
	}
	if q.old {
		return
	}
	for ; q.next < len(frames); q.next++ {
		q.hold(frames[q.next])
	}
}

// putAll puts frames from q.next on into buffers, until there are none left for one of them.
func (q *rxQueue) putAll(frames []*vswitch.Frame) {
	for ; q.next < len(frames); q.next++ {
		if q.putDirect(frames); q.next == len(frames) {
			return
		}
		f := frames[q.next]
		switch q.put(f) {
		case put:
			q.sent++
			q.bytes += f.Len
		case noFit:
			f.Refuse(vswitch.DropNoFit)
		case full:
			q.firstKept = q.next
			return
		case broken:
			q.next = len(frames) // finish refuses all frames
			return
		}
	}
}

// finish unpops chains that were not needed and publishes the completed ones. If the guest has
// failed meanwhile, all frames of the group are refused, also those that were sent to it, except
// for those that are held. Frames that were refused before keep their reasons.
func (q *rxQueue) finish(frames []*vswitch.Frame) {
	lost := q.port.failed.Load()
	defer func() {
		if r := recover(); r != nil {
			lost = q.fault(r)
		}
		if lost {
			vswitch.RefuseAll(frames[:min(q.next, q.firstKept)], vswitch.DropFault)
			q.sent, q.bytes = 0, 0
		}
	}()
	if !lost {
		q.atRing = true
		q.short = len(q.batch.Chains) - q.taken
		q.vq.Unpop(q.batch, q.short)
		q.vq.Flush()
		q.atRing = false
	}
}

// Results of transmitting a frame.
type outcome int

const (
	put outcome = iota
	noFit
	full
	broken // the ring
	bad    // a chain
)

// maxPieces is the largest number of pieces of memory in one chain, from a guest or to it. Each may
// lie in a different page, which may cost a page fault. Linux has 19 at most, and DPDK's back-end
// allows the same number as this.
const maxPieces = 256

// Limits of the work that a driver can cause for its own frames.
const (
	maxBadChains   = vswitch.MaxBatch // in a group of frames; after that the ring counts as full
	maxFramePieces = 2048             // of memory for one frame: 32 bytes each
	maxGroupPieces = 1024             // for a group of frames: a batch's bytes in buffers of an MTU
)

// longStep is the number of chains that are popped at a time for a frame that needs several:
// 64 KiB in pages.
const longStep = 17

// putDirect copies frames from q.next on, in order, as long as the batch has chains and each frame
// fits into the first piece of one.
func (q *rxQueue) putDirect(frames []*vswitch.Frame) {
	hdrLen, frames, chains := q.hdrLen, frames[q.next:], q.batch.Chains[q.taken:]
	frames = frames[:min(len(frames), len(chains))]
	for i, f := range frames {
		c, need := &chains[i], hdrLen+f.Len
		if len(c.Writable) == 0 || len(c.Readable) != 0 || len(c.Writable[0]) < need {
			return
		}
		fill(c.Writable[0], hdrLen, f)
		q.vq.Complete(c, uint32(need))
		q.taken++
		q.next++
		q.sent++
		q.bytes += f.Len
	}
}

// fill copies a frame and its header to dst, which is long enough.
func fill(dst []byte, hdrLen int, f *vswitch.Frame) {
	encodeHeader(dst, hdrLen, &f.Offload, 1)
	dst = dst[hdrLen:]
	copyHead(dst, f.Head)
	if len(f.Body) == 0 {
		return
	}
	dst = dst[len(f.Head):]
	for _, b := range f.Body {
		dst = dst[copy(dst, b):]
	}
}

// put copies one frame into as many chains as the frame needs and completes them. It completes them
// after everything has been copied, so that a fault leaves no frame half done.
func (q *rxQueue) put(f *vswitch.Frame) outcome {
	for {
		c, o := q.chain(q.taken)
		if o == put {
			need := q.hdrLen + f.Len
			if dst := c.Writable[0]; len(dst) >= need {
				fill(dst, q.hdrLen, f)
				q.vq.Complete(c, uint32(need))
				q.taken++
				return put
			}
			o = q.putLong(f, need)
		}
		if o != bad {
			return o
		}
		if q.bad++; q.bad > maxBadChains {
			return full
		}
	}
}

// putLong is put for a frame that needs several pieces, and possibly several chains.
func (q *rxQueue) putLong(f *vswitch.Frame, need int) outcome {
	if q.taken > vswitch.MaxBatch {
		q.trim()
	}
	if q.pieces >= maxGroupPieces {
		return full
	}
	// Check first that the frame fits, so that nothing has to be undone.
	chains, pieces, room := 0, 0, 0
	for room < need {
		c, o := q.chain(q.taken + chains)
		if o == full && chains == q.size {
			return q.tooSmall(f, room) // all buffers of the ring together are not enough
		}
		if o != put {
			return o
		}
		chains++
		pieces += len(c.Writable)
		room += virtqueue.Len(c.Writable)
		if room < need && (!q.mergeable || pieces > maxFramePieces) {
			return q.tooSmall(f, room)
		}
	}
	var hdr [headerLen]byte
	encodeHeader(hdr[:], q.hdrLen, &f.Offload, chains)
	w := writer{chains: q.batch.Chains[q.taken : q.taken+chains]}
	w.write(hdr[:q.hdrLen])
	w.write(f.Head)
	for _, b := range f.Body {
		w.write(b)
	}
	left := need
	for i := range w.chains {
		n := min(left, w.size(i))
		q.vq.Complete(&w.chains[i], uint32(n))
		left -= n
	}
	q.taken += chains
	q.pieces += pieces
	return put
}

// chain returns the chain at index i of the batch, after popping more chains if necessary.
func (q *rxQueue) chain(i int) (*virtqueue.Chain, outcome) {
	if i == len(q.batch.Chains) {
		if o := q.pop(i - q.taken); o != put {
			return nil, o
		}
	}
	c := &q.batch.Chains[i]
	if len(c.Writable) != 0 && len(c.Readable) == 0 {
		return c, put
	}
	q.skip(i)
	return nil, bad
}

// skip completes a chain that cannot hold a frame with length 0, together with those before it that
// were meant for the same frame (a frame's chains have to be adjacent in the used ring). The frame
// has to start again.
func (q *rxQueue) skip(i int) {
	for ; q.taken <= i; q.taken++ {
		q.vq.Complete(&q.batch.Chains[q.taken], 0)
	}
	q.badChains++
}

// pop pops more chains. has is the number of chains that the current frame already has. It pops one
// for each remaining frame, and some more for a long frame. In all, it pops no more for one group
// of frames than there are descriptors, since a driver that gets none back has no others. A driver
// that makes more available anyway would keep the worker here forever.
func (q *rxQueue) pop(has int) outcome {
	n := q.frames - q.next
	if has > 0 {
		n += longStep
	}
	q.atRing = true
	n, err := q.vq.Pop(q.batch, min(n, vswitch.MaxBatch, q.size-q.popped))
	q.atRing = false
	if err != nil {
		q.port.fail(fmt.Errorf("ring %d: %w", q.index, err))
		return broken
	}
	if n == 0 {
		return full
	}
	q.popped += n
	return put
}

// trim removes the completed chains, which are not needed any more, from the batch, so that long
// frames do not make the batch grow without limit.
func (q *rxQueue) trim() {
	spare := len(q.batch.Chains) - q.taken
	q.vq.Unpop(q.batch, spare)
	q.batch.Reset()
	q.popped -= spare
	q.taken = 0
}

// A writer fills the writable pieces of chains, in order.
type writer struct {
	chains     []virtqueue.Chain
	chain, seg int // position of the next byte ...
	off        int // ... and its offset in that piece
}

// write appends b, for which there is room.
func (w *writer) write(b []byte) {
	for len(b) > 0 {
		segs := w.chains[w.chain].Writable
		if w.seg == len(segs) {
			w.chain, w.seg = w.chain+1, 0
			continue
		}
		n := copy(segs[w.seg][w.off:], b)
		b = b[n:]
		if w.off += n; w.off == len(segs[w.seg]) {
			w.seg, w.off = w.seg+1, 0
		}
	}
}

// size returns the number of bytes that fit into chain i.
func (w *writer) size(i int) int { return virtqueue.Len(w.chains[i].Writable) }
