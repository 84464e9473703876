package uplink

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// The receive path. Hot: no allocation, no lock, one system call for each frame that is larger than
// a slot and none for the others.
//
// A receiver belongs to one worker at a time, which alone calls its methods; nothing here is shared
// but the ring, with the kernel. Slots are handed back after Deliver has returned, because the
// frames that it was given are in them.

const (
	// bigBuffers is how many frames larger than a slot one batch takes. They are fetched into the
	// receiver's buffers, which should be few enough for the cache.
	bigBuffers = 8

	// A big buffer is laid out like a slot: room for a tag, headroom, the frame; the vnet header,
	// which read(2) puts before the frame, overlaps the room.
	bigFrame = 16
	bigSize  = bigFrame + vswitch.MaxFrameLen

	// maxReadTries bounds the repetitions of a read that reported a pending error of the socket
	// instead of the frame.
	maxReadTries = 4
)

// A receiver is a socket's Source.
type receiver struct {
	fd       int
	ring     *ring
	only     atomic.Pointer[macSet] // whose frames are taken, of those not to the interface; nil: all
	deliver  func([]vswitch.Frame)
	counters *vswitch.Counters

	next   int // the slot that the kernel fills next, as far as the receiver has looked
	frames [vswitch.MaxBatch]vswitch.Frame
	bodies [vswitch.MaxBatch][1][]byte
	big    [bigBuffers][]byte
	bigs   int // how many of big this batch uses
}

// FD returns the socket.
func (r *receiver) FD() int { return r.fd }

// Arm reports whether the ring has a frame. Notifications cannot be switched on or off: the kernel
// signals each frame that it puts into the ring, whether a worker waits or not.
func (r *receiver) Arm() bool {
	// A worker that waits level-triggered must not find the error of a link that went down again
	// and again.
	_, _ = unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return r.ring.status(r.next)&unix.TP_STATUS_USER != 0
}

// Disarm does nothing, see Arm.
func (r *receiver) Disarm() {}

// Poll delivers what is in the ring, at most vswitch.MaxBatch frames, and returns how many slots it
// took.
func (r *receiver) Poll() int {
	taken, n, at := 0, 0, r.next
	r.bigs = 0
	for n < vswitch.MaxBatch && r.bigs < bigBuffers && taken < r.ring.slots {
		status := r.ring.status(at)
		if status&unix.TP_STATUS_USER == 0 {
			break
		}
		if r.take(r.ring.slot(at), status, n) {
			n++
		}
		taken++
		if at++; at == r.ring.slots {
			at = 0
		}
	}
	if taken == 0 {
		return 0
	}
	// Also when Deliver panics, because a guest's memory turned out to be gone: the same frames
	// must not come again.
	defer r.release(taken)
	if n > 0 {
		r.deliver(r.frames[:n])
	}
	return taken
}

// release hands the next n slots back to the kernel.
func (r *receiver) release(n int) {
	for range n {
		r.ring.release(r.next)
		if r.next++; r.next == r.ring.slots {
			r.next = 0
		}
	}
}

// take makes the i-th frame of the batch from a slot. It returns false if there is no frame to
// deliver, and has counted the reason if a frame is lost.
func (r *receiver) take(s slot, status uint32, i int) bool {
	buf, start, n := []byte(s), s.mac(), s.snaplen()
	if status&unix.TP_STATUS_COPY != 0 {
		// Fetched even if it is then dropped: the socket's queue and the slots that stand for it
		// stay in step.
		buf, start, n = r.fetch(s.frameLen())
	} else if n < s.frameLen() {
		n = -1 // too large for the slot, and no room in the socket's queue
	}
	switch {
	case s.pktType() == unix.PACKET_OUTGOING:
		return false // sent by the host, or by this uplink
	case n < 0:
		r.counters.Drop(vswitch.DropRingFull, 1)
		return false
	case !s.wellFormed():
		r.counters.Drop(vswitch.DropBadChain, 1)
		return false
	case s.pktType() == unix.PACKET_OTHERHOST && !r.takes(buf[start:]):
		r.counters.Drop(vswitch.DropOtherHost, 1)
		return false
	}
	o := decodeVnetHdr(buf[start-vnetHdrLen:])
	if tpid, tci, ok := s.tag(status); ok && n >= 12 {
		start, n = restoreTag(buf, start, n, tpid, tci)
		shiftOffload(&o, tagLen)
	}
	return r.build(i, buf, start, n, o)
}

// takes reports whether a frame that is not to the interface's address is to be delivered.
func (r *receiver) takes(frame []byte) bool {
	only := r.only.Load()
	return only == nil || len(frame) >= 6 && only.has(macKey(vswitch.MAC(frame[:6])))
}

// fetch reads the frame that did not fit into a slot from the socket's queue, into the next big
// buffer. The frame is buf[start:start+n]; n is -1 if it could not be read.
func (r *receiver) fetch(want int) (buf []byte, start, n int) {
	if r.big[r.bigs] == nil {
		r.big[r.bigs] = make([]byte, bigSize) // once
	}
	buf = r.big[r.bigs]
	r.bigs++
	for range maxReadTries {
		// A pending error is reported instead of a frame, once.
		n, err := unix.Read(r.fd, buf[bigFrame-vnetHdrLen:])
		if err == unix.EAGAIN {
			break
		}
		if err == nil {
			if n-vnetHdrLen != want {
				break // longer than the longest frame
			}
			return buf, bigFrame, want
		}
	}
	return buf, bigFrame, -1
}

// restoreTag writes a VLAN tag behind the MAC addresses of the frame buf[start:start+n], moving
// these forward by its length. The caller has checked that there are slotRoom bytes before start
// and 12 bytes behind it.
func restoreTag(buf []byte, start, n int, tpid, tci uint16) (newStart, newLen int) {
	newStart = start - tagLen
	copy(buf[newStart:newStart+12], buf[start:start+12])
	binary.BigEndian.PutUint16(buf[start+8:], tpid)
	binary.BigEndian.PutUint16(buf[start+10:], tci)
	return newStart, n + tagLen
}

// shiftOffload accounts for n bytes put in before the network header. An offset at the end of its
// range stays there, behind any frame, rather than wrap.
func shiftOffload(o *vswitch.Offload, n int) {
	if o.Flags&vswitch.HdrNeedsCsum != 0 {
		o.CsumStart = uint16(min(int(o.CsumStart)+n, math.MaxUint16))
	}
	if o.HdrLen != 0 {
		o.HdrLen = uint16(min(int(o.HdrLen)+n, math.MaxUint16))
	}
}

// build makes the i-th frame of the batch from buf[start:start+n], or counts why not.
func (r *receiver) build(i int, buf []byte, start, n int, o vswitch.Offload) bool {
	head, ok := headLen(&o, n)
	switch {
	case n < vswitch.MinFrameLen:
		r.counters.Drop(vswitch.DropTooShort, 1)
		return false
	case n > vswitch.MaxFrameLen:
		r.counters.Drop(vswitch.DropTooLong, 1)
		return false
	case !ok:
		r.counters.Drop(vswitch.DropBadOffload, 1)
		return false
	}
	f := &r.frames[i]
	*f = vswitch.Frame{
		Head:    buf[start : start+head : start+head],
		Room:    buf[start-vswitch.Headroom : start+head : start+head],
		Len:     n,
		Offload: o,
	}
	if head < n {
		r.bodies[i][0] = buf[start+head : start+n : start+n]
		f.Body = r.bodies[i][:]
	}
	if o.GSOType != vswitch.GSONone && !normalise(f) {
		r.counters.Drop(vswitch.DropBadOffload, 1)
		return false
	}
	return true
}
