package virtqueuetest

import (
	"sync/atomic"
	"unsafe"

	"vswitchd/virtqueue"
)

// packedRing is the driver's view of the three areas of a packed virtqueue:
//
//	descriptor ring            Size * {le64 addr, le32 len, le16 id, le16 flags}
//	driver event suppression   le16 off_wrap, le16 flags
//	device event suppression   le16 off_wrap, le16 flags
//
// newPackedRing has checked that each area lies in one region and is aligned; the language checks
// the slice's indices.
type packedRing struct {
	desc                     [][2]uint64
	driverEvent, deviceEvent *uint32
}

func newPackedRing(regions []virtqueue.Region, cfg virtqueue.Config) (r packedRing, err error) {
	desc, err := area(regions, "descriptor ring", cfg.Desc, 16*uint64(cfg.Size), 8)
	if err != nil {
		return r, err
	}
	driver, err := area(regions, "driver event suppression", cfg.Avail, 4, 4)
	if err != nil {
		return r, err
	}
	device, err := area(regions, "device event suppression", cfg.Used, 4, 4)
	if err != nil {
		return r, err
	}
	return packedRing{unsafe.Slice((*[2]uint64)(desc), cfg.Size), (*uint32)(driver), (*uint32)(device)}, nil
}

// store writes a descriptor: first the address, then the word with flags, length and id.
func (r *packedRing) store(i int, d PackedDesc) {
	p := &r.desc[i]
	atomic.StoreUint64(&p[0], d.Addr)
	atomic.StoreUint64(&p[1], uint64(d.Len)|uint64(d.ID)<<32|uint64(d.Flags)<<48)
}

// load returns a descriptor that the device is not writing.
func (r *packedRing) load(i int) PackedDesc {
	d := r.loadUsed(i)
	d.Addr = atomic.LoadUint64(&r.desc[i][0])
	return d
}

// loadUsed returns a descriptor without its address. "In a used descriptor, Element Address is
// unused": the device may be writing there until it marks the descriptor used.
func (r *packedRing) loadUsed(i int) PackedDesc {
	w := atomic.LoadUint64(&r.desc[i][1])
	return PackedDesc{Len: uint32(w), ID: uint16(w >> 32), Flags: uint16(w >> 48)}
}

// storeDriverEvent is a full fence.
func (r *packedRing) storeDriverEvent(w uint32) {
	atomic.StoreUint32(r.driverEvent, w)
	fence(r.deviceEvent)
}

func (r *packedRing) loadDeviceEvent() uint32 { return atomic.LoadUint32(r.deviceEvent) }
func (r *packedRing) loadDriverEvent() uint32 { return atomic.LoadUint32(r.driverEvent) }

func (r *packedRing) storeDeviceEvent(w uint32) { atomic.StoreUint32(r.deviceEvent, w) }
