package netport

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/virtqueue"
)

// This file is the hot path from the guest to the switch. It runs on a worker, with the queue's
// lock held for one batch. It does not allocate.

// Poll implements Source: it passes one batch of frames from the guest through the switch.
func (q *txQueue) Poll() int {
	q.mu.Lock()
	defer q.leave()
	if !q.usable() {
		return 0
	}
	b := q.bufs.batch
	b.Reset()
	limit := vswitch.MaxBatch
	if q.flooding.Load() {
		limit = floodBatch
	}
	n, err := q.vq.Pop(b, limit)
	if err != nil {
		q.port.fail(fmt.Errorf("ring %d: %w", q.index, err))
		return 0
	}
	if n == 0 {
		return 0
	}
	if q.enabled {
		n = q.deliver(b.Chains)
		q.vq.Unpop(b, len(b.Chains)-n)
	} else {
		// "the back-end must process the ring without causing any side effects": take and
		// discard the frames.
		q.port.counters.Drop(vswitch.DropDisabled, n)
	}
	q.vq.CompleteAll(b) // nothing was written to the chains, invalid ones included
	q.vq.Flush()
	return n
}

// floodBatch is the number of frames that are taken at once while frames are flooded: other ports
// wait until each of them has been copied to all ports.
const floodBatch = 16

// maxBatchBytes is the number of bytes of frames after which a batch takes no further frame: each
// of their pages may cost a page fault, and so may each page that they are copied to.
const maxBatchBytes = 1 << 20

// deliver parses chains into frames and passes them to the switch. It returns the number of chains.
func (q *txQueue) deliver(chains []virtqueue.Chain) (taken int) {
	bufs := q.bufs
	k := 0
	var drops [3]int
	q.step, q.room = parsing, maxBatchBytes
	for taken < len(chains) && q.room > 0 {
		n := q.parseDirect(bufs.frames[k:], bufs.heads[k:], chains[taken:])
		k += n
		if taken += n; taken == len(chains) || q.room <= 0 {
			break
		}
		c := &chains[taken]
		taken++
		if c.Err != nil || len(c.Writable) != 0 {
			drops[0]++
			continue
		}
		switch q.parse(&bufs.frames[k], &bufs.heads[k], c.Readable) {
		case parsed:
			k++
		case tooShort:
			drops[1]++
		case tooLong:
			drops[2]++
		}
	}
	if drops != [3]int{} {
		q.badChains += uint64(drops[0])
		q.port.counters.Drop(vswitch.DropBadChain, drops[0])
		q.port.counters.Drop(vswitch.DropTooShort, drops[1])
		q.port.counters.Drop(vswitch.DropTooLong, drops[2])
	}
	if k > 0 {
		q.step = delivering
		q.inlet.Deliver(bufs.frames[:k])
		if f := q.inlet.Flooding(); f != q.flooding.Load() {
			q.flooding.Store(f)
		}
	}
	q.step = atRing
	return taken
}

// Results of parsing a chain.
type parseResult int

const (
	parsed parseResult = iota
	tooShort
	tooLong
)

// parseDirect parses chains into frames, in order, as long as each consists of one piece that
// contains a frame, and the batch has room for it. It returns the number of frames.
func (q *txQueue) parseDirect(frames []vswitch.Frame, heads []headRoom, chains []virtqueue.Chain) (n int) {
	frames, heads = frames[:len(chains)], heads[:len(chains)]
	hdrLen, mask, room := q.hdrLen, q.mask, q.room
	for i := range chains {
		c, f := &chains[i], &frames[i]
		if len(c.Readable) != 1 || len(c.Writable) != 0 || room <= 0 {
			break
		}
		data := c.Readable[0]
		size := len(data) - hdrLen
		if size < vswitch.MinFrameLen || size > vswitch.MaxFrameLen {
			break
		}
		room -= size
		n++
		decodeOffload(&f.Offload, data, mask)
		want := headLen(&f.Offload, size)
		f.Head, f.Body, f.Len = heads[i].head(want), nil, size
		copyHead(f.Head, data[hdrLen:hdrLen+want])
		if want < size {
			c.Readable[0] = data[hdrLen+want:]
			f.Body = c.Readable
		}
	}
	q.room = room
	return n
}

// headLen returns how many bytes of a frame of the given size are copied to private memory.
func headLen(o *vswitch.Offload, size int) int {
	want := vswitch.HeadLen
	if o.Flags&vswitch.HdrNeedsCsum != 0 {
		// The switch must be able to read and edit the whole transport header. It refuses
		// frames whose header does not end within HeadMax.
		want = max(want, int(o.CsumStart)+maxTransportHeader)
	}
	return min(want, size, vswitch.HeadMax)
}

// parse parses the header and the data in segs, which it modifies, into a frame. The header and the
// first part of the data are copied to private memory.
func (q *txQueue) parse(f *vswitch.Frame, room *headRoom, segs [][]byte) parseResult {
	if len(segs) == 0 {
		return tooShort
	}
	first, size := segs[0], virtqueue.Len(segs)-q.hdrLen
	if size < vswitch.MinFrameLen {
		return tooShort
	}
	if size > vswitch.MaxFrameLen {
		return tooLong
	}
	if len(first) > q.hdrLen {
		decodeOffload(&f.Offload, first, q.mask)
		first = first[q.hdrLen:]
	} else {
		var hdr [headerLen]byte
		segs = gather(hdr[:q.hdrLen], segs)
		decodeOffload(&f.Offload, hdr[:], q.mask)
		first = segs[0]
	}

	want := headLen(&f.Offload, size)
	head := room.head(want)
	n := copy(head, first)
	if n < len(first) {
		segs[0] = first[n:]
	} else {
		segs = segs[1:] // otherwise Body would begin with an empty piece
	}
	if n < want {
		segs = gather(head[n:], segs)
	}
	f.Head, f.Body, f.Len = head, segs, size
	q.room -= size
	return parsed
}

// maxTransportHeader is the length of the longest transport header, that of TCP with all options.
const maxTransportHeader = 60

// gather fills dst from segs, which contain enough bytes, and returns the rest of segs.
func gather(dst []byte, segs [][]byte) [][]byte {
	for len(dst) > 0 {
		n := copy(dst, segs[0])
		dst = dst[n:]
		if n == len(segs[0]) {
			segs = segs[1:]
		} else {
			segs[0] = segs[0][n:]
		}
	}
	return segs
}
