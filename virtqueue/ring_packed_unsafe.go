package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// A packedRing is the three areas of a packed virtqueue (virtio 1.2, section 2.8),
// in guest memory:
//
//	descriptor ring            Size * {le64 addr, le32 len, le16 id, le16 flags}
//	driver event suppression   le16 off_wrap, le16 flags
//	device event suppression   le16 off_wrap, le16 flags
//
// newPackedRing has checked that all of each area lies within one mapping and is
// aligned. The slice carries its length; each event structure is one word.
//
// All that has to be seen together lies in one aligned word, which is loaded or
// stored at once: length, id and flags of a descriptor, and both halves of an
// event structure. A descriptor is the reader's when its flags say so, and its
// address, in the other word, is loaded after them.
type packedRing struct {
	desc        [][2]uint64
	driverEvent *uint32 // written by the driver: whether it wants a signal
	deviceEvent *uint32 // written by us: whether we want to be kicked
}

// Flags of a descriptor in a packed ring, besides those of both formats. They are
// different when it is available, and the same when it is used; which of the
// two is set says on which lap around the ring that was.
const (
	descAvail  = 1 << 7
	descUsed   = 1 << 15
	descEither = descAvail | descUsed
)

// What an event suppression structure says (2.8.10), and its size. The position for
// eventDesc is in the lower half of its word, in the form of packedPos.base.
const (
	eventEnable  = 0 << 16
	eventDisable = 1 << 16
	eventDesc    = 2 << 16
	eventFlags   = 3 << 16 // mask
	eventSize    = 4
)

func newPackedRing(mem *Memory, cfg Config) (packedRing, error) {
	desc, err := area(mem, "descriptor ring", cfg.Desc, uint64(cfg.Size)*descSize, 16)
	if err != nil {
		return packedRing{}, err
	}
	driver, err := area(mem, "driver event suppression", cfg.Avail, eventSize, 4)
	if err != nil {
		return packedRing{}, err
	}
	device, err := area(mem, "device event suppression", cfg.Used, eventSize, 4)
	if err != nil {
		return packedRing{}, err
	}
	return packedRing{
		desc:        unsafe.Slice((*[2]uint64)(desc), cfg.Size),
		driverEvent: (*uint32)(driver),
		deviceEvent: (*uint32)(device),
	}, nil
}

// loadPacked loads a descriptor, each half of it once, the one with the flags
// first.
func loadPacked(d *[2]uint64) packedDesc {
	w := atomic.LoadUint64(&d[1])
	return packedDesc{addr: atomic.LoadUint64(&d[0]), len: uint32(w), id: uint16(w >> 32), flags: uint16(w >> 48)}
}

// A packedDesc is a descriptor, in private memory.
type packedDesc struct {
	addr      uint64
	len       uint32
	id, flags uint16
}

// storeFirst writes the used descriptor that shows the driver those behind it. It is
// a full fence; see exchange64.
func storeFirst(d *[2]uint64, w uint64) { exchange64(&d[1], w) }

func (r *packedRing) loadDriverEvent() uint32 { return atomic.LoadUint32(r.driverEvent) }

// storeDeviceEvent is a full fence; see exchange32.
func (r *packedRing) storeDeviceEvent(w uint32) { exchange32(r.deviceEvent, w) }
