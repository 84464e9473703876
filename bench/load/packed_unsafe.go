package load

import (
	"sync/atomic"
	"unsafe"

	"vswitchd/virtqueue"
)

// A packedRing is the driver's view of a packed virtqueue (virtio 1.2, section 2.8):
//
//	descriptor ring            Size * {le64 addr, le32 len, le16 id, le16 flags}
//	driver event suppression   le16 off_wrap, le16 flags
//	device event suppression   le16 off_wrap, le16 flags
//
// Places of the ring, buffer ids and buffers are the same numbers. The device writes len, id and
// flags of a buffer that it has used, and the address is unused then ("In a used descriptor,
// Element Address is unused"): all of it is written again whenever the buffer is offered.
//
// newPackedRing has found each area inside of mem and aligned; indices of the slice are checked by
// the language.
type packedRing struct {
	desc                     [][2]uint64
	driverEvent, deviceEvent *uint32
	fresh                    [][2]uint64 // each descriptor, without the two flags below

	next       int // place to be offered next
	nextFlags  uint64
	seen       int // place to be used next
	seenFlags  uint64
	out        int // places with the device
	reapedFrom int
}

// Flags of a descriptor in place: AVAIL and USED (2.8.1).
const (
	packedAvail  = 1 << (48 + 7)
	packedUsed   = 1 << (48 + 15)
	packedEither = packedAvail | packedUsed
)

// Event suppression (2.8.10): what is in bits 16 and 17.
const (
	eventDisable = 1
	eventDesc    = 2
)

func newPackedRing(mem area, cfg virtqueue.Config) (*packedRing, error) {
	desc, err := mem.at("descriptor ring", cfg.Desc, 16*uint64(cfg.Size))
	if err != nil {
		return nil, err
	}
	driver, err := mem.at("driver event suppression", cfg.Avail, 4)
	if err != nil {
		return nil, err
	}
	device, err := mem.at("device event suppression", cfg.Used, 4)
	if err != nil {
		return nil, err
	}
	r := &packedRing{
		desc:        unsafe.Slice((*[2]uint64)(desc), cfg.Size),
		driverEvent: (*uint32)(driver),
		deviceEvent: (*uint32)(device),
		fresh:       make([][2]uint64, cfg.Size),
		nextFlags:   packedAvail, // both wrap counters begin with 1
		seenFlags:   packedEither,
	}
	atomic.StoreUint32(r.driverEvent, eventDisable<<16)
	return r, nil
}

func (r *packedRing) setup(i int, addr uint64, n uint32, writable bool) {
	r.fresh[i] = [2]uint64{addr, uint64(n) | uint64(i)<<32}
	if writable {
		r.fresh[i][1] |= descWrite << 48
	}
}

func (r *packedRing) ready() bool {
	return r.out > 0 && atomic.LoadUint64(&r.desc[r.seen][1])&packedEither == r.seenFlags
}

func (r *packedRing) reap() (n int) {
	r.reapedFrom = r.seen
	for r.ready() {
		n++
		r.out--
		if r.seen++; r.seen == len(r.desc) {
			r.seen = 0
			r.seenFlags ^= packedEither
		}
	}
	return n
}

func (r *packedRing) used(k int) (buf int, n uint32) {
	i := r.reapedFrom + k
	if i >= len(r.desc) {
		i -= len(r.desc)
	}
	w := atomic.LoadUint64(&r.desc[i][1])
	return int(uint16(w >> 32)), uint32(w)
}

func (r *packedRing) offer(n int) (kick bool) {
	if n == 0 {
		return false
	}
	r.out += n
	first, firstFlags := r.next, r.nextFlags
	for k := range n {
		d, f := &r.desc[r.next], &r.fresh[r.next]
		if d[0] = f[0]; k > 0 {
			d[1] = f[1] | r.nextFlags
		}
		if r.next++; r.next == len(r.desc) {
			r.next = 0
			r.nextFlags ^= packedEither
		}
	}
	// The first comes last, as the device sees the others only after it. (An exchange is a full
	// fence on amd64, under the race detector too, where an atomic store is none: what the device
	// wants is read afterwards.)
	atomic.SwapUint64(&r.desc[first][1], r.fresh[first][1]|firstFlags)
	event := atomic.LoadUint32(r.deviceEvent)
	switch event >> 16 & 3 {
	case eventDisable:
		return false
	case eventDesc:
		// Places passed since the named place, or before it was reached.
		return r.distance(int(event&0x7fff), event&0x8000 != 0) <= n
	}
	return true
}

// distance returns how many places lie from one, in the turn of a wrap counter, to the next to be
// offered; more than the ring has if that place is still to come.
func (r *packedRing) distance(place int, wrap bool) int {
	now := r.nextFlags&packedAvail != 0
	d := r.next - place
	if wrap != now {
		d += len(r.desc)
	}
	if d <= 0 {
		d += 2 * len(r.desc)
	}
	return d
}

func (r *packedRing) armed() bool {
	event := atomic.LoadUint32(r.deviceEvent)
	switch event >> 16 & 3 {
	case eventDisable:
		return false
	case eventDesc:
		return int(event&0x7fff) == r.next && event&0x8000 != 0 == (r.nextFlags&packedAvail != 0)
	}
	return true
}
