package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// A packedRing is the three areas of a packed virtqueue (virtio 1.2, section 2.8), in guest memory:
//
//	descriptor ring            Size * {le64 addr, le32 len, le16 id, le16 flags}
//	driver event suppression   le16 off_wrap, le16 flags
//	device event suppression   le16 off_wrap, le16 flags
//
// newPackedRing has checked that each area lies within one mapping and is aligned. The slice
// carries its length; each event structure is one word.
//
// Fields that have to be seen together lie in one aligned word, which is loaded or stored at once:
// length, id and flags of a descriptor, and both halves of an event structure. The flags say which
// side owns a descriptor; its address, in the other word, is loaded after them.
type packedRing struct {
	desc        [][2]uint64
	driverEvent *uint32 // written by the driver: whether it wants a signal
	deviceEvent *uint32 // written by us: whether we want to be kicked
}

// Flags of a descriptor in a packed ring, besides those of both formats. The two differ in an
// available descriptor and are equal in a used one; their values give the lap around the ring on
// which it became available or used.
const (
	descAvail  = 1 << 7
	descUsed   = 1 << 15
	descEither = descAvail | descUsed
)

// Values of the flags of an event suppression structure (2.8.10), and its size. The position for
// eventDesc is in the lower half of the word, in the format of packedPos.base.
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

// loadPacked loads a descriptor: each half once, the one with the flags first.
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

// storeFirst writes the used descriptor that makes the driver see those behind it. It is a full
// fence; see exchange64.
func storeFirst(d *[2]uint64, w uint64) { exchange64(&d[1], w) }

func (r *packedRing) loadDriverEvent() uint32 { return atomic.LoadUint32(r.driverEvent) }

// storeDeviceEvent is a full fence; see exchange32.
func (r *packedRing) storeDeviceEvent(w uint32) { exchange32(r.deviceEvent, w) }
