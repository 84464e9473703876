package load

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"vswitchd/virtqueue"
)

// A splitRing is the driver's view of a split virtqueue (virtio 1.2, section 2.7):
//
//	descriptor table   Size * {le64 addr, le32 len, le16 flags, le16 next}
//	available ring     le16 flags, le16 idx, le16 ring[Size], le16 used_event
//	used ring          le16 flags, le16 idx, {le32 id, le32 len}[Size], le16 avail_event
//
// newSplitRing has found each area inside of mem and aligned to 4 bytes at least; arrays are slices
// with their lengths, single words are in the areas by this layout.
type splitRing struct {
	desc  [][2]uint64
	avail []uint16
	usedq [][2]uint32

	availHead, usedHead   *uint32 // flags, idx
	usedEvent, availEvent *uint16
	eventIdx              bool
	mask                  uint16
	availIdx              uint16 // as published
	usedIdx               uint16 // as last seen
	reaped                uint16 // usedIdx before that
}

// Flags of descriptors and rings.
const (
	descWrite        = 2
	availNoInterrupt = 1
	usedNoNotify     = 1
)

func newSplitRing(mem area, cfg virtqueue.Config) (*splitRing, error) {
	n := uint64(cfg.Size)
	desc, err := mem.at("descriptor table", cfg.Desc, 16*n)
	if err != nil {
		return nil, err
	}
	avail, err := mem.at("available ring", cfg.Avail, 4+2*n+2)
	if err != nil {
		return nil, err
	}
	used, err := mem.at("used ring", cfg.Used, 4+8*n+2)
	if err != nil {
		return nil, err
	}
	r := &splitRing{
		desc:       unsafe.Slice((*[2]uint64)(desc), cfg.Size),
		avail:      unsafe.Slice((*uint16)(unsafe.Add(avail, 4)), cfg.Size),
		usedq:      unsafe.Slice((*[2]uint32)(unsafe.Add(used, 4)), cfg.Size),
		availHead:  (*uint32)(avail),
		usedHead:   (*uint32)(used),
		usedEvent:  (*uint16)(unsafe.Add(avail, 4+2*n)),
		availEvent: (*uint16)(unsafe.Add(used, 4+8*n)),
		eventIdx:   cfg.Features&(1<<virtqueue.FeatureEventIdx) != 0,
		mask:       uint16(cfg.Size - 1),
	}
	for i := range r.avail {
		r.avail[i] = uint16(i)
	}
	r.offer(0)
	return r, nil
}

func (r *splitRing) setup(i int, addr uint64, n uint32, writable bool) {
	var flags uint64
	if writable {
		flags = descWrite
	}
	r.desc[i] = [2]uint64{addr, uint64(n) | flags<<32}
}

func (r *splitRing) reap() int {
	idx := uint16(atomic.LoadUint32(r.usedHead) >> 16)
	r.reaped, r.usedIdx = r.usedIdx, idx
	return int(idx - r.reaped)
}

func (r *splitRing) ready() bool { return uint16(atomic.LoadUint32(r.usedHead)>>16) != r.usedIdx }

func (r *splitRing) used(k int) (buf int, n uint32) {
	e := &r.usedq[(r.reaped+uint16(k))&r.mask]
	return int(e[0]), e[1]
}

func (r *splitRing) offer(n int) (kick bool) {
	r.availIdx += uint16(n)
	var flags uint32
	if r.eventIdx {
		// One that is just behind does not come for a long time.
		*r.usedEvent = r.usedIdx - 1
	} else {
		flags = availNoInterrupt
	}
	// An exchange is a full fence on amd64, under the race detector too, where an atomic store is
	// none: what the device wants is read afterwards.
	atomic.SwapUint32(r.availHead, flags|uint32(r.availIdx)<<16)
	flags = atomic.LoadUint32(r.usedHead)
	if r.eventIdx {
		// Is avail_event one of the last n?
		return r.availIdx-*r.availEvent-1 < uint16(n)
	}
	return n > 0 && flags&usedNoNotify == 0
}

// prime makes the next n buffers available, and asks for a call when the device has used the last
// of them. Whether the device wants to be kicked is not looked at.
func (r *splitRing) prime(n int) {
	r.availIdx += uint16(n)
	*r.usedEvent = r.availIdx - 1
	atomic.SwapUint32(r.availHead, uint32(r.availIdx)<<16)
}

func (r *splitRing) armed() bool {
	flags := atomic.LoadUint32(r.usedHead)
	if r.eventIdx {
		return *r.availEvent == r.availIdx
	}
	return flags&usedNoNotify == 0
}

// An area is memory at a front-end's virtual address.
type area struct {
	addr uint64
	mem  []byte
}

// at returns where the n bytes at an address are, which has to be aligned to 4 bytes.
func (a area) at(what string, addr, n uint64) (unsafe.Pointer, error) {
	off := addr - a.addr
	if size := uint64(len(a.mem)); off >= size || n > size-off {
		return nil, fmt.Errorf("no room for the %s", what)
	}
	p := unsafe.Pointer(&a.mem[off])
	if uintptr(p)%4 != 0 {
		return nil, fmt.Errorf("the %s is not aligned", what)
	}
	return p, nil
}
