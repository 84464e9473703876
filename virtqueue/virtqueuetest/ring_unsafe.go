package virtqueuetest

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"vswitchd/virtqueue"
)

// ring is the driver's view of the three areas:
//
//	descriptor table   Size * 16 bytes
//	available ring     le16 flags, le16 idx, le16 ring[Size], le16 used_event
//	used ring          le16 flags, le16 idx, {le32 id, le32 len}[Size], le16 avail_event
//
// newRing has checked that each area, event fields included, lies in one region and is aligned.
// Arrays are slices with their lengths; single words are in the areas by the layout above.
type ring struct {
	desc  [][2]uint64
	avail []uint16
	used  [][2]uint32

	availFlags, availIdx *uint16
	availHead            *uint32 // flags, idx; nil: the area is not aligned to 4 bytes
	usedHead             *uint32 // flags, idx
	usedEvent            *uint16
	availEvent           *uint16
}

func newRing(regions []virtqueue.Region, cfg virtqueue.Config) (r ring, err error) {
	size := uint64(cfg.Size)
	desc, err := area(regions, "descriptor table", cfg.Desc, 16*size, 8)
	if err != nil {
		return ring{}, err
	}
	avail, err := area(regions, "available ring", cfg.Avail, 4+2*size+2, 2)
	if err != nil {
		return ring{}, err
	}
	used, err := area(regions, "used ring", cfg.Used, 4+8*size+2, 4)
	if err != nil {
		return ring{}, err
	}
	r = ring{
		desc:       unsafe.Slice((*[2]uint64)(desc), cfg.Size),
		avail:      unsafe.Slice((*uint16)(unsafe.Add(avail, 4)), cfg.Size),
		used:       unsafe.Slice((*[2]uint32)(unsafe.Add(used, 4)), cfg.Size),
		availFlags: (*uint16)(avail),
		availIdx:   (*uint16)(unsafe.Add(avail, 2)),
		usedHead:   (*uint32)(used),
		usedEvent:  (*uint16)(unsafe.Add(avail, 4+2*size)),
		availEvent: (*uint16)(unsafe.Add(used, 4+8*size)),
	}
	if uintptr(avail)%4 == 0 {
		r.availHead = (*uint32)(avail)
	}
	return r, nil
}

// area returns a pointer to the n bytes at a user address, which must lie in one region and be
// aligned.
func area(regions []virtqueue.Region, what string, addr, n, align uint64) (unsafe.Pointer, error) {
	for _, reg := range regions {
		off, size := addr-reg.UserAddr, uint64(len(reg.Mem))
		if off >= size || n > size-off {
			continue
		}
		if p := unsafe.Pointer(&reg.Mem[off]); uint64(uintptr(p))%align == 0 {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no aligned room for the %s (%d bytes at %#x)", what, n, addr)
}

// storeAvail publishes the available ring's flags and index, and orders later loads of the device's
// words after the store.
func (r *ring) storeAvail(flags, idx uint16) {
	if r.availHead != nil {
		atomic.StoreUint32(r.availHead, uint32(flags)|uint32(idx)<<16)
		fence(r.usedHead)
		return
	}
	fence(r.usedHead) // entries before the index
	r.storeAvailPlain(flags, idx)
	fence(r.usedHead) // the index before whatever follows
}

//go:norace
func (r *ring) storeAvailPlain(flags, idx uint16) { *r.availFlags, *r.availIdx = flags, idx }

// fence orders all accesses before it before all accesses after it. The word keeps its value:
// adding 0 is an atomic read and write, which is a full fence on amd64, and the load after it
// orders the plain loads that follow on arm64.
func fence(word *uint32) {
	var private uint32
	atomic.AddUint32(&private, 0)
	atomic.LoadUint32(word)
}

func (r *ring) loadUsed() (flags, idx uint16) {
	w := atomic.LoadUint32(r.usedHead)
	return uint16(w), uint16(w >> 16)
}

func (r *ring) storeUsed(flags, idx uint16) {
	atomic.StoreUint32(r.usedHead, uint32(flags)|uint32(idx)<<16)
}

//go:norace
func (r *ring) loadAvailEvent() uint16 { return *r.availEvent }

//go:norace
func (r *ring) storeAvailEvent(v uint16) { *r.availEvent = v }

//go:norace
func (r *ring) loadUsedEvent() uint16 { return *r.usedEvent }

//go:norace
func (r *ring) storeUsedEvent(v uint16) { *r.usedEvent = v }

//go:norace
func (r *ring) storeAvailEntry(i, head uint16) { r.avail[i] = head }

//go:norace
func (r *ring) loadAvail() (flags, idx uint16) { return *r.availFlags, *r.availIdx }

func (r *ring) storeDesc(i uint16, d Desc) {
	p := &r.desc[i]
	atomic.StoreUint64(&p[0], d.Addr)
	atomic.StoreUint64(&p[1], uint64(d.Len)|uint64(d.Flags)<<32|uint64(d.Next)<<48)
}

func (r *ring) loadDesc(i uint16) Desc {
	p := &r.desc[i]
	w := atomic.LoadUint64(&p[1])
	return Desc{Addr: atomic.LoadUint64(&p[0]), Len: uint32(w), Flags: uint16(w >> 32), Next: uint16(w >> 48)}
}
