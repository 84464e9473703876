package netport

import (
	"encoding/binary"
	"slices"

	vswitch "vswitchd/switch"
)

// This file holds frames for a guest that has no receive buffers left, until the guest makes some
// available. A driver gives buffers back in batches, when it is scheduled, and a ring of 256 is
// full after a few hundred microseconds. A TAP device has a queue of its own behind such a ring
// (1000 packets, tx_queue_len), and TCP connections are used to that.
//
// Frames are copied, since a frame is borrowed from its sender, whose buffers must not wait for
// another guest. The copies of one receiveq are delivered in order, before any later frame. They
// are delivered by whoever comes first: the worker that has the next frame for the guest, or the
// worker that is woken by the guest's kick (rx_drain.go).
//
// A receiveq that has never been full has no memory for that, and the only cost is a test for each
// group of frames.

// recordHeader is the length of what precedes a frame in a chunk: the frame's length (4 bytes) and
// its offloads as a virtio-net header.
const recordHeader = 4 + headerLen

// heldFrames are the frames that a receiveq holds, the oldest first.
type heldFrames struct {
	n      int          // frames
	chunks []*holdChunk // the oldest first; no chunk but the last is empty

	// The next frames to be delivered, as set by peek.
	next   [vswitch.MaxBatch]*vswitch.Frame
	frames [vswitch.MaxBatch]vswitch.Frame
	bodies [vswitch.MaxBatch][1][]byte
}

func newHeldFrames() *heldFrames {
	h := &heldFrames{}
	for i := range h.next {
		h.next[i] = &h.frames[i]
	}
	return h
}

// holding reports whether the queue holds frames. The caller holds mu.
func (q *rxQueue) holding() bool { return q.held != nil && q.held.n > 0 }

// hold copies a frame to the queue's held frames, or refuses the frame. If the frame's memory
// faults, nothing is held. The caller holds mu.
func (q *rxQueue) hold(f *vswitch.Frame) {
	if !q.keep(f) {
		f.Refuse(vswitch.DropRingFull)
		return
	}
	q.kept++
}

// keep is hold without refusing.
func (q *rxQueue) keep(f *vswitch.Frame) bool {
	limit := int(q.port.queueLen.Load())
	if f.Head[0]&1 != 0 {
		limit /= 2 // leave room for what only this guest receives
	}
	if q.wake == nil || limit == 0 || q.holding() && q.held.n >= limit {
		return false
	}
	c := q.chunkFor(recordHeader + f.Len)
	if c == nil {
		return false
	}
	record := c.mem[c.write : c.write+recordHeader+f.Len]
	binary.NativeEndian.PutUint32(record, uint32(f.Len))
	encodeHeader(record[4:], headerLen, &f.Offload, 1)
	to := record[recordHeader:]
	to = to[copy(to, f.Head):]
	for _, b := range f.Body {
		to = to[copy(to, b):]
	}
	c.write += len(record)
	q.held.n++
	return true
}

// chunkFor returns a chunk with room for size bytes, or nil.
func (q *rxQueue) chunkFor(size int) *holdChunk {
	if q.held == nil {
		q.held = newHeldFrames()
	}
	h := q.held
	if last := len(h.chunks) - 1; last >= 0 && holdChunkSize-h.chunks[last].write >= size {
		return h.chunks[last]
	}
	c := q.port.hold.get()
	if c != nil {
		h.chunks = append(h.chunks, c)
	}
	return c
}

// peek returns the next frames: at most MaxBatch, and not many more than maxBatchBytes. They are
// valid until drop.
func (h *heldFrames) peek() []*vswitch.Frame {
	n, room := 0, maxBatchBytes
	for _, c := range h.chunks {
		for at := c.read; at < c.write; n++ {
			if n == len(h.next) || room <= 0 {
				return h.next[:n]
			}
			size := int(binary.NativeEndian.Uint32(c.mem[at:]))
			f, data := &h.frames[n], c.mem[at+recordHeader:at+recordHeader+size]
			decodeOffload(&f.Offload, c.mem[at+4:], ^uint64(0))
			head := min(size, vswitch.HeadLen)
			f.Head, f.Len, f.Body = data[:head], size, nil
			if head < size {
				h.bodies[n][0] = data[head:]
				f.Body = h.bodies[n][:]
			}
			at += recordHeader + size
			room -= size
		}
	}
	return h.next[:n]
}

// dropHeld removes the first n held frames.
func (q *rxQueue) dropHeld(n int) {
	h := q.held
	h.n -= n
	for n > 0 {
		c := h.chunks[0]
		for ; n > 0 && c.read < c.write; n-- {
			c.read += recordHeader + int(binary.NativeEndian.Uint32(c.mem[c.read:]))
		}
		if c.read == c.write {
			q.port.hold.put(c)
			h.chunks = slices.Delete(h.chunks, 0, 1)
		}
	}
}

// discardHeld drops all held frames, because frames cannot be sent to the receiveq any more.
func (q *rxQueue) discardHeld(why vswitch.DropReason) {
	if q.holding() {
		q.port.counters.Drop(why, q.held.n)
		q.dropHeld(q.held.n)
	}
}
